"""timm's eva.py: EVA, EVA-02, DINOv3, ViT with rotary positions, the Perception Encoder."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers.attention import AttentionRope
from timm.models.eva import Eva, EvaAttention, EvaBlock
from torch import nn

from edgeprune.errors import ModelError
from edgeprune.families.attention import Attention, HeadMixer, PackedQKV, pack, packed_bias
from edgeprune.families.base import register, timm_module
from edgeprune.families.layers import require_absent, require_norm
from edgeprune.families.rotary import rotary_table
from edgeprune.families.transformer import TransformerFamily


class EVA(TransformerFamily):
    """Models of class ``Eva`` with blocks that begin with a norm."""

    name = "eva"
    tokens = ("cls_token", "pos_embed", "reg_token")
    block_scales = ("gamma_1", "gamma_2")
    norms = ("norm_pre", "norm", "fc_norm")

    def covers(self, timm_name: str) -> bool:
        """See :meth:`Family.covers`."""
        return timm_module(timm_name) == "eva"

    def check(self, module: Any) -> None:
        """See :meth:`TransformerFamily.check`."""
        if not isinstance(module, Eva):
            raise ModelError(f"models of class {type(module).__name__} are not supported yet")
        for block in module.blocks:
            if not isinstance(block, EvaBlock):
                raise ModelError(f"blocks of kind {type(block).__name__} are not supported yet")
            require_absent(block.attn, ("gate",))
            if getattr(block.attn, "num_kv_groups", 1) != 1:
                raise ModelError("attention whose heads share keys is not supported yet")

    def adapt(self, module: Any) -> nn.Module:
        """See :meth:`Family.adapt`."""
        module = super().adapt(module)
        if module.rope is not None:
            for block in module.blocks:
                block.attn.mix.rotates = True
            grid = module.patch_embed.grid_size
            module.rope = rotary_table(module.rope, grid, module.num_prefix_tokens)
        return module  # type: ignore[no-any-return]

    def attention(self, block: Any) -> Attention:
        """See :meth:`TransformerFamily.attention`."""
        old: EvaAttention | AttentionRope = block.attn
        for norm in (old.q_norm, old.k_norm, old.norm):
            require_norm(norm)
        mix = HeadMixer(
            old.num_heads,
            old.head_dim,
            old.scale,
            q_norm=old.q_norm,
            k_norm=old.k_norm,
            rotate_half=old.rotate_half,
        )
        return Attention(_projection(old), mix, old.proj, old.norm)


def _projection(old: Any) -> PackedQKV:
    """Pack the projections of timm's attention, whether they are one layer or three."""
    if old.qkv is not None:
        bias = packed_bias(old) if isinstance(old, EvaAttention) else old.qkv.bias
        return pack(old.qkv.weight, bias)
    layers = (old.q_proj, old.k_proj, old.v_proj)
    weight = torch.cat([layer.weight for layer in layers])
    biases = [
        torch.zeros_like(layer.weight[:, 0]) if layer.bias is None else layer.bias
        for layer in layers
    ]
    return pack(nn.Parameter(weight.detach()), nn.Parameter(torch.cat(biases).detach()))


register(EVA())
