"""timm's plain vision transformers: ViT, DINOv2, CLIP's and SigLIP's image towers, BEiT-3."""

from __future__ import annotations

from typing import Any

from timm.layers.attention import Attention as TimmAttention
from timm.models.vision_transformer import Block, VisionTransformer

from edgeprune.errors import ModelError
from edgeprune.families.attention import Attention, HeadMixer, pack
from edgeprune.families.base import register, timm_module
from edgeprune.families.layers import require_absent, require_norm
from edgeprune.families.transformer import TransformerFamily


class ViT(TransformerFamily):
    """``vit_*`` of timm's vision_transformer.py that are built of plain blocks."""

    name = "vit"
    tokens: tuple[str, ...] = ("cls_token", "pos_embed", "reg_token")
    block_scales = ("ls1.gamma", "ls2.gamma")
    norms = ("norm_pre", "norm", "fc_norm")

    def covers(self, timm_name: str) -> bool:
        """See :meth:`Family.covers`."""
        return timm_module(timm_name) == "vision_transformer"

    def check(self, module: Any) -> None:
        """See :meth:`TransformerFamily.check`."""
        if not isinstance(module, VisionTransformer):
            raise ModelError(f"models of class {type(module).__name__} are not supported yet")
        for block in module.blocks:
            if not isinstance(block, Block):
                raise ModelError(f"blocks of kind {type(block).__name__} are not supported yet")
            if not isinstance(block.attn, TimmAttention):
                kind = type(block.attn).__name__
                raise ModelError(f"attention of kind {kind} is not supported yet")

    def attention(self, block: Any) -> Attention:
        """See :meth:`TransformerFamily.attention`."""
        old = block.attn
        require_absent(old, ("gate",))
        for norm in (old.q_norm, old.k_norm, old.norm):
            require_norm(norm)
        mix = HeadMixer(
            old.num_heads, old.head_dim, old.scale, q_norm=old.q_norm, k_norm=old.k_norm
        )
        return Attention(pack(old.qkv.weight, old.qkv.bias), mix, old.proj, old.norm)


register(ViT())
