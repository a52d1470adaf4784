"""Swin: windows that shift, a table of position biases, a norm before each branch."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.swin_transformer import SwinTransformer, get_relative_position_index

from edgeprune.families.attention import pack
from edgeprune.families.base import register, timm_module
from edgeprune.families.staged import StagedFamily
from edgeprune.families.windows import WindowAttention, WindowMixer


class Swin(StagedFamily):
    """``swin_*`` of timm's swin_transformer.py (Liu et al., ICCV 2021)."""

    name = "swin"
    model_class = SwinTransformer
    norm_first = True

    def covers(self, timm_name: str) -> bool:
        """See :meth:`Family.covers`."""
        return timm_module(timm_name) == "swin_transformer"

    def attention(self, old: Any, windows: int) -> WindowAttention:
        """See :meth:`StagedFamily.attention`."""
        height, width = old.window_size
        mix = WindowMixer(
            old.num_heads,
            old.proj.in_features // old.num_heads,
            old.scale,
            windows,
            bias_table=old.relative_position_bias_table,
            bias_index=get_relative_position_index(height, width, device=torch.device("cpu")),
        )
        return WindowAttention(pack(old.qkv.weight, old.qkv.bias), mix, old.proj)


register(Swin())
