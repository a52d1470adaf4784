"""BEiT: a bias for q and v alone, and a table of relative position biases per head."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.beit import Beit, gen_relative_position_index
from torch import nn

from edgeprune.errors import ModelError
from edgeprune.families.attention import Attention, HeadMixer, pack, packed_bias
from edgeprune.families.base import register, timm_module
from edgeprune.families.layers import require_absent, require_norm
from edgeprune.families.transformer import TransformerFamily


class BEiT(TransformerFamily):
    """``beit_*`` and ``beitv2_*`` of timm's beit.py."""

    name = "beit"
    block_scales = ("gamma_1", "gamma_2")

    def covers(self, timm_name: str) -> bool:
        """See :meth:`Family.covers`."""
        return timm_module(timm_name) == "beit"

    def check(self, module: Any) -> None:
        """See :meth:`TransformerFamily.check`."""
        if not isinstance(module, Beit):
            raise ModelError(f"models of class {type(module).__name__} are not supported yet")
        require_absent(module, ("rel_pos_bias",))

    def attention(self, block: Any) -> Attention:
        """See :meth:`TransformerFamily.attention`.

        The separate biases become one packed bias whose k part starts at zero; a bias on k
        shifts all scores of a query alike, so softmax never sees it, trained or not.
        """
        old = block.attn
        norm = getattr(old, "norm", nn.Identity())
        require_norm(norm)
        index = None
        if old.window_size is not None:
            # made on the CPU even for a meta model: it is derived, not stored
            index = gen_relative_position_index(old.window_size, device=torch.device("cpu"))
        heads = old.num_heads
        mix = HeadMixer(
            heads,
            old.proj.in_features // heads,
            old.scale,
            bias_table=old.relative_position_bias_table,
            bias_index=index,
        )
        return Attention(pack(old.qkv.weight, packed_bias(old)), mix, old.proj, norm)


register(BEiT())
