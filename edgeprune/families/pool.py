"""Attention pooling: learned queries gather the tokens into one vector (SigLIP's head).

timm projects its latent vectors to queries. Since nothing of an image enters them, the projected
queries themselves become the parameter, which is exact. The vector that leaves the pool has
channels of its own, not those of the residual stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from timm.layers.attention_pool import AttentionPoolLatent
from torch import nn

from edgeprune.errors import ModelError
from edgeprune.families import mlp
from edgeprune.families.attention import LatentMixer, PackedKV, pack_kv
from edgeprune.families.base import ChannelGroup, WidthKey
from edgeprune.families.layers import (
    require_absent,
    require_norm,
    resize_linear,
    resize_parameter,
)

PATH = "attn_pool"


class AttentionPool(nn.Module):
    """``(batch, tokens, dim) -> (batch, width)``: attention, then a residual MLP."""

    def __init__(
        self, kv: PackedKV, mix: LatentMixer, proj: nn.Linear, norm: nn.Module, mlp: nn.Module
    ) -> None:
        super().__init__()
        self.kv = kv
        self.mix = mix
        self.proj = proj
        self.norm = norm
        self.mlp = mlp

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool the tokens; of several queries the first counts, as in timm."""
        x = self.proj(self.mix(self.kv(x)))
        pooled: torch.Tensor = x + self.mlp(self.norm(x))
        return pooled[:, 0]


def prunable(old: Any) -> AttentionPool:
    """Put timm's attention pool into prunable form.

    Raises:
        ModelError: if it has a part that is not supported.
    """
    if not isinstance(old, AttentionPoolLatent) or old.mlp is None or old.pool != "token":
        raise ModelError(f"attention pooling of kind {type(old).__name__} is not supported yet")
    require_absent(old, ("pos_embed", "q_norm", "k_norm"))
    require_norm(old.norm)
    with torch.no_grad():
        query = nn.Parameter(old.q(old.latent))
    mix = LatentMixer(old.num_heads, old.head_dim, old.scale, query)
    packed: Any = old.kv
    kv = pack_kv(packed.weight, packed.bias)
    return AttentionPool(kv, mix, old.proj, old.norm, mlp.prunable(old.mlp))


def groups(pool: Any) -> list[ChannelGroup]:
    """Return the channel groups of a pool; what leaves it keeps its width.

    One token's worth of arithmetic would be saved there, and its channels, which far fewer weights
    touch, would always lose against those of the residual stream.
    """
    heads, channels = pool.mix.heads, pool.kv.channels
    root = f"{PATH}.mlp.{mlp.readers(pool.mlp)[0]}"
    return [
        ChannelGroup(f"{PATH}.attn", f"{PATH}.kv", channels, pool.mix.dims, heads),
        ChannelGroup(f"{PATH}.mlp", root, mlp.hidden_width(pool.mlp), ("mlp",)),
    ]


def resize(pool: Any, embed: int, widths: Mapping[WidthKey, int]) -> None:
    """Give a pool other widths."""
    pool.mix.heads = widths[f"{PATH}.attn", "heads"]
    pool.mix.head_dim = widths[f"{PATH}.attn", "head_dim"]
    channels = pool.mix.heads * pool.mix.head_dim
    resize_linear(pool.kv, inputs=embed, outputs=pool.kv.parts * channels)
    resize_parameter(pool.mix, "query", 2, channels)
    resize_linear(pool.proj, inputs=channels)
    mlp.resize(pool.mlp, pool.proj.out_features, widths[f"{PATH}.mlp", "mlp"])
