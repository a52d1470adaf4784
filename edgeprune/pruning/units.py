"""Units of pruning: what is removed as a whole along one dimension, and its score.

A unit is an embedding channel, an MLP neuron, a whole head, or the k-th least useful dim of every
head of a layer (heads of a layer stay equally wide, but each drops its own dims).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from edgeprune.families import ChannelGroup
from edgeprune.families.base import WidthKey


@dataclass(frozen=True)
class Units:
    """The units of one dimension of one layer, best first.

    Attributes:
        key: (layer name, dimension).
        scores: ``(units,)`` in descending order.
        floor: units that always stay.
    """

    key: WidthKey
    scores: torch.Tensor
    floor: int


# Never below one head, 8 channels, or the 16 dims that fused attention kernels start from.
FLOORS = {"embed": 8, "mlp": 8, "heads": 1, "head_dim": 16}


def units_of(
    group: ChannelGroup,
    scores: torch.Tensor,
    dims: tuple[str, ...],
    least: Mapping[WidthKey, int],
) -> list[Units]:
    """Return the units of a group along each of ``dims`` that it has.

    Args:
        group: the channel group.
        scores: ``(channels,)``.
        dims: dimensions that may be pruned.
        least: width per dimension that a caller wants kept at least.
    """
    found = []
    for dim in group.dims:
        if dim not in dims:
            continue
        values = _unit_scores(group, scores, dim)
        floor = max(FLOORS[dim], least[group.name, dim])
        found.append(Units((group.name, dim), values, min(floor, len(values))))
    return found


def kept_channels(
    group: ChannelGroup, scores: torch.Tensor, keep: dict[WidthKey, int]
) -> list[int]:
    """Return the channels that stay when ``keep`` units of each dimension stay.

    Dims inside heads are chosen among the heads that stay, for each head its own.
    """
    if not group.heads:
        count = keep.get((group.name, group.dims[0]), group.channels)
        return _best(scores, count)
    table = scores.view(group.heads, -1)
    heads = _best(table.sum(1), keep.get((group.name, "heads"), group.heads))
    width = table.shape[1]
    count = keep.get((group.name, "head_dim"), width)
    return [head * width + dim for head in heads for dim in _best(table[head], count)]


def _unit_scores(group: ChannelGroup, scores: torch.Tensor, dim: str) -> torch.Tensor:
    if dim == "heads":
        values = scores.view(group.heads, -1).sum(1)
    elif dim == "head_dim":
        # column k holds the k-th best dim of every head
        values = scores.view(group.heads, -1).sort(dim=1, descending=True).values.sum(0)
    else:
        values = scores
    return values.sort(descending=True).values


def _best(scores: torch.Tensor, count: int) -> list[int]:
    """Return the indices of the ``count`` best, ascending; of equals the first stay."""
    order = scores.sort(descending=True, stable=True).indices
    return sorted(order[:count].tolist())
