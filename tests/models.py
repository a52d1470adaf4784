"""Small models that tests share."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

# (timm name, size, extra arguments): every family, and each part that a family knows of.
CASES: list[tuple[str, int, dict[str, Any]]] = [
    ("vit_tiny_patch16_224", 48, {}),
    ("vit_small_patch14_dinov2", 42, {}),
    ("vit_small_patch14_reg4_dinov2", 42, {}),
    ("vit_base_patch16_clip_224.openai", 48, {}),
    ("deit_tiny_patch16_224", 48, {}),
    ("deit_tiny_distilled_patch16_224", 64, {}),
    ("deit3_small_patch16_224", 48, {}),
    ("beit_base_patch16_224", 48, {}),
    ("beitv2_base_patch16_224", 32, {}),
]
IDS = [name for name, _, _ in CASES]
CLASSES = 5
DEPTH = 3


def timm_model(name: str, size: int, **extra: Any) -> nn.Module:
    """A shallow timm model whose every parameter matters: none is left at 0 or 1."""
    torch.manual_seed(0)
    arguments = {"num_classes": CLASSES, "img_size": size, "depth": DEPTH, **extra}
    model: nn.Module = timm.create_model(name, **arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def images(size: int, count: int = 4) -> torch.Tensor:
    """Random images ``(count, 3, size, size)``."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))
