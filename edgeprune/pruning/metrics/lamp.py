"""Magnitude against what is left when all smaller is gone."""

from __future__ import annotations

import torch

from edgeprune.pruning.metrics.base import Scores, Scoring, metric
from edgeprune.pruning.metrics.heads import share_among_dims


@metric("lamp")
def lamp(scoring: Scoring) -> Scores:
    """Squared size, divided by that of all channels of the group that are not smaller.

    With ``m_c`` the sum of ``w^2`` over channel c: ``m_c / sum of m_k over k with m_k >= m_c``.
    The largest channel of every group has 1, so layers of unlike weights compete on equal terms.
    Attention heads are scored whole, by the sum of their dims' ``m``.

    Lee et al., "Layer-Adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021, on channels.
    """
    squares = scoring.sum_slices(lambda _, weights: weights.square())
    found: Scores = {}
    for group, _ in scoring.groups:
        sizes = squares[group.name].double()
        scores = _share_of_larger(sizes)
        if group.heads:
            whole = _share_of_larger(sizes.view(group.heads, -1).sum(1))
            scores = share_among_dims(whole, scores)
        found[group.name] = scores.float()
    return found


def _share_of_larger(sizes: torch.Tensor) -> torch.Tensor:
    """Divide each size by the sum of itself and all after it in ascending order."""
    ascending, order = sizes.sort(stable=True)
    left = ascending.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(sizes)
    scores[order] = ascending / left.clamp_min(torch.finfo(sizes.dtype).tiny)
    return scores
