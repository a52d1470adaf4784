"""Whole heads, for metrics whose score of a head is not simply the sum over its dims."""

from __future__ import annotations

import torch


def share_among_dims(heads: torch.Tensor, dims: torch.Tensor) -> torch.Tensor:
    """Divide the score of every head among its dims, in proportion to their own scores.

    Args:
        heads: ``(heads,)``.
        dims: ``(heads * head_dim,)``, none negative; a head whose dims all have 0 is divided
            evenly.

    Returns:
        ``(heads * head_dim,)``: the dims of a head add up to its score.
    """
    table = dims.view(len(heads), -1) + torch.finfo(dims.dtype).tiny
    return (heads[:, None] * table / table.sum(1, keepdim=True)).flatten()
