"""What halving every width leaves of an architecture: counted on the meta device, no weights."""

from __future__ import annotations

from typing import Any

import timm
import torch

from benchmarks.record import machine
from edgeprune import families
from edgeprune.costs import count
from edgeprune.families.base import Family, WidthKey
from edgeprune.pruning.units import FLOORS

# One or two timm models of full size for every architecture that docs/families.md lists.
MODELS = (
    "vit_base_patch16_224",
    "vit_medium_patch16_reg4_gap_256",
    "vit_base_patch14_reg4_dinov2",
    "vit_giant_patch14_dinov2",
    "vit_base_patch16_clip_224",
    "vit_base_patch16_siglip_224",
    "deit_small_patch16_224",
    "deit_base_distilled_patch16_224",
    "deit3_base_patch16_224",
    "beit_base_patch16_224",
    "beitv2_base_patch16_224",
    "beit3_base_patch16_224",
    "eva_giant_patch14_224",
    "eva02_tiny_patch14_224",
    "eva02_base_patch14_448",
    "eva02_base_patch16_clip_224",
    "vit_base_patch16_rope_224",
    "vit_base_patch16_dinov3",
    "vit_small_plus_patch16_dinov3",
    "vit_pe_core_base_patch16_224",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
)
ROUND_TO = 8


def run() -> dict[str, Any]:
    """Count every model with 1000 classes, dense and with half of each embed, heads and mlp."""
    rows = []
    for name in MODELS:
        family = families.of(name)
        with torch.device("meta"):
            module: Any = timm.create_model(name, num_classes=1000)
        module = family.adapt(module)
        size = module.patch_embed.img_size[0]
        projects = bool(family.streams(module))
        dense = count(module, size)
        family.resize(module, _half(family, module))
        half = count(module, size)
        rows.append(
            {
                "model": name,
                "family": family.name,
                "img_size": size,
                "gmacs": dense.macs / 1e9,
                "macs_ratio": half.macs / dense.macs,
                "params_ratio": half.params / dense.params,
                "stream_projected": projects,
            }
        )
    return {"name": "half of every width, by architecture", "machine": machine(), "rows": rows}


def _half(family: Family, module: Any) -> dict[WidthKey, int]:
    """Halve every width but the head size, to multiples of 8 (heads: to whole ones)."""
    found = {}
    for width in family.widths(module):
        step = 1 if width.dim == "heads" else ROUND_TO
        half = round(width.width / 2 / step) * step
        kept = width.width if width.dim == "head_dim" else max(half, FLOORS[width.dim])
        found[width.name, width.dim] = kept
    return found
