"""SwinV2: attention by cosines, position biases from an MLP, a norm after each branch."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn

from edgeprune.families.attention import pack, packed_bias
from edgeprune.families.base import register, timm_module
from edgeprune.families.staged import StagedFamily
from edgeprune.families.windows import CosineMixer, PositionMLP, WindowAttention


class SwinV2(StagedFamily):
    """``swinv2_*`` of timm's swin_transformer_v2.py (Liu et al., CVPR 2022)."""

    name = "swinv2"
    model_class = SwinTransformerV2
    norm_first = False

    def covers(self, timm_name: str) -> bool:
        """See :meth:`Family.covers`."""
        return timm_module(timm_name) == "swin_transformer_v2"

    def attention(self, old: Any, windows: int) -> WindowAttention:
        """See :meth:`StagedFamily.attention`.

        The packed bias has a part for k, which timm's has not. It starts at zero, where nothing
        changes; unlike in other families, training may then make use of it, since a bias changes
        the cosine of a key.
        """
        distances, index = old._make_pair_wise_relative_positions(
            device=torch.device("cpu"), dtype=torch.float32
        )
        mix = CosineMixer(
            old.num_heads,
            old.proj.in_features // old.num_heads,
            windows,
            logit_scale=nn.Parameter(old.logit_scale.detach().flatten()),
            positions=PositionMLP(old.cpb_mlp, distances.flatten(0, 2)),
            bias_index=index,
        )
        return WindowAttention(pack(old.qkv.weight, packed_bias(old)), mix, old.proj)


register(SwinV2())
