"""How replaceable a channel is by the others of its group."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgeprune.pruning.graph import Member
from edgeprune.pruning.metrics.base import Scores, Scoring, metric


@metric("fpgm")
def fpgm(scoring: Scoring) -> Scores:
    """Distance to the geometric median: the sum of distances to all other channels of the group.

    ``sum over k of |w_c - w_k|``, with ``w_c`` all weights of channel c over its group. What is
    near the median is near what the others can stand for.

    He et al., "Filter Pruning via Geometric Median", CVPR 2019, over the whole group. Besides one
    parameter it holds ``channels * channels`` numbers of one group.
    """
    return {
        group.name: _distances(scoring.module, members, group.channels).sum(1)
        for group, members in scoring.groups
    }


def _distances(module: nn.Module, members: Sequence[Member], channels: int) -> torch.Tensor:
    """Return the distance between every two channels, ``(channels, channels)``.

    Squared distances add up over members: ``|a - b|^2 = aa + bb - 2 ab``.
    """
    products = torch.zeros(channels, channels)
    for member in members:
        weights = module.get_parameter(member.parameter).detach().movedim(member.axis, 0)
        rows = weights[member.index].reshape(channels, -1)
        # A shift of all rows moves no distance; without it large common parts would cancel.
        rows = rows - rows.mean(0)
        products.addmm_(rows, rows.T)
    own = products.diagonal()
    return (own[:, None] + own - 2 * products).clamp_min_(0).sqrt_()
