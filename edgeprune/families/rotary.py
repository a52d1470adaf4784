"""Rotary positions as one fixed table, shared by all blocks and heads."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers.pos_embed_sincos import RotaryEmbeddingCat, RotaryEmbeddingDinoV3
from torch import nn

from edgeprune.errors import ModelError


class RotaryTable(nn.Module):
    """Sines and cosines for one grid of patches, in place of timm's module.

    Attributes:
        table: ``(tokens, 2 * head_dim)``, sines then cosines. The tokens before the patches have
            no position: theirs are 0 and 1, which turns nothing.
    """

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table, persistent=False)
        self.table: torch.Tensor

    def get_embed(self, shape: object = None) -> torch.Tensor:
        """Return the table; ``shape`` is what timm passes, and is always the model's own grid."""
        return self.table


def rotary_table(rope: Any, grid: tuple[int, int], prefix: int) -> RotaryTable:
    """Compute the table of a model, on the CPU even for a meta model: it is not stored.

    Args:
        rope: timm's rotary embedding.
        grid: rows and columns of patches.
        prefix: class and register tokens before the patches.

    Raises:
        ModelError: if the positions are learned or of another kind.
    """
    if not isinstance(rope, (RotaryEmbeddingCat, RotaryEmbeddingDinoV3)):
        kind = type(rope).__name__
        raise ModelError(f"rotary positions of kind {kind} are not supported yet")
    rope = rope.to_empty(device="cpu").eval()
    rope.init_non_persistent_buffers()
    patches = rope.get_embed(None if rope.feat_shape is not None else list(grid))
    width = patches.shape[1] // 2
    still = torch.cat([torch.zeros(prefix, width), torch.ones(prefix, width)], dim=1)
    return RotaryTable(torch.cat([still, patches]))
