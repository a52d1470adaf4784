"""Small models that tests share."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import patch

import timm
import torch
from torch import nn

# Wide architectures are made narrow as well as shallow.
SMALL = {"embed_dim": 128, "num_heads": 4}

# Two stages at 36 pixels: windows that shift and are filled up, then one window of all tokens.
# Without drop path, which timm has on for these: training steps are compared.
STAGES = {"depths": (2, 2), "embed_dim": 32, "num_heads": (2, 4), "drop_path_rate": 0.0}

# (timm name, size, extra arguments): every family, and each part that a family knows of.
CASES: list[tuple[str, int, dict[str, Any]]] = [
    ("vit_tiny_patch16_224", 48, {}),
    ("vit_small_patch14_dinov2", 42, {}),
    ("vit_small_patch14_reg4_dinov2", 42, {}),
    ("vit_base_patch16_clip_224.openai", 48, {}),
    ("deit_tiny_patch16_224", 48, {}),
    ("deit_tiny_distilled_patch16_224", 64, {}),
    ("deit3_small_patch16_224", 48, {}),
    ("deit_small_patch14", 42, {}),
    ("beit_base_patch16_224", 48, {}),
    ("beitv2_base_patch16_224", 32, {}),
    ("beit_small_patch14", 42, {}),
    ("beit3_base_patch16_224", 48, {}),
    ("vit_giant_patch14_dinov2", 28, SMALL),
    ("vit_tiny_patch16_224", 32, {"qk_norm": True}),
    ("vit_little_patch16_reg4_gap_256", 32, SMALL),
    ("vit_base_patch16_siglip_224", 32, SMALL),
    ("vit_base_patch16_siglip_gap_224", 32, SMALL),
    ("eva_giant_patch14_224", 28, SMALL),
    ("eva02_tiny_patch14_224", 42, {}),
    ("eva02_base_patch14_224", 28, SMALL),
    ("eva02_base_patch16_clip_224", 32, SMALL),
    ("vit_small_patch16_rope_224", 48, SMALL),
    ("vit_medium_patch16_rope_reg1_gap_256", 32, SMALL),
    ("vit_small_patch16_dinov3", 48, SMALL),
    ("vit_small_patch16_dinov3_qkvb", 32, SMALL),
    ("vit_small_plus_patch16_dinov3", 32, SMALL),
    ("vit_pe_core_tiny_patch16_384", 32, SMALL),
    ("swin_tiny_patch4_window7_224", 36, STAGES),
    ("swinv2_tiny_window8_256", 36, STAGES),
]
IDS = [
    name + "".join(f"-{key}" for key in extra if key not in {**SMALL, **STAGES})
    for name, _, extra in CASES
]
# One model of every kind, where all cases would take too long.
ONE_OF_EACH = [
    "vit_tiny_patch16_224",
    "vit_small_patch14_reg4_dinov2",
    "deit_tiny_distilled_patch16_224",
    "beit_base_patch16_224",
    "eva02_tiny_patch14_224",
    "vit_small_patch16_dinov3",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
]
CLASSES = 5
DEPTH = 3


def with_depth(extra: dict[str, Any], depth: int) -> dict[str, Any]:
    """Arguments of a model with ``depth`` blocks, unless they say how many each stage has."""
    return dict(extra) if "depths" in extra else {"depth": depth, **extra}


def made_small(extra: dict[str, Any], depth: int) -> Any:
    """While this context lasts, models and artifacts are made with ``extra`` and ``depth``."""
    make = partial(timm.create_model, **with_depth(extra, depth))
    return patch("edgeprune.model.timm.create_model", make)


def timm_model(name: str, size: int, **extra: Any) -> nn.Module:
    """A shallow timm model whose every parameter matters: none is left at 0 or 1."""
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(
        name, num_classes=CLASSES, img_size=size, **with_depth(extra, DEPTH)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def images(size: int, count: int = 4) -> torch.Tensor:
    """Random images ``(count, 3, size, size)``."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def single_logits(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Logits; a distilled model gives those of both classifiers while it is trained."""
    found = module(x)
    return torch.stack(found).mean(0) if isinstance(found, tuple) else found
