"""Units of pruning: what is removed as a whole along one dimension, and its score.

A unit is an embedding channel, an MLP neuron, a whole head, the k-th least useful dim of every
head of a layer (heads of a layer stay equally wide, but each drops its own dims), or a whole
residual block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from edgeprune.families import ChannelGroup
from edgeprune.families.base import WidthKey

BLOCKS = "blocks"

# Never below one head, 8 channels, or the 16 dims that fused attention kernels start from.
FLOORS = {"embed": 8, "mlp": 8, "heads": 1, "head_dim": 16}


@dataclass(frozen=True)
class Units:
    """The units of one dimension of one layer, best first.

    Attributes:
        key: (layer name, dimension); for a block its path and ``blocks``.
        scores: ``(units,)`` in descending order.
        floor: units that always stay.
        freed: what removing one unit frees (parameters, MACs), or 1 where that does not count.
        stage: see :attr:`ChannelGroup.stage`; blocks are compared across all stages.
    """

    key: WidthKey
    scores: torch.Tensor
    floor: int
    freed: float = 1.0
    stage: str = ""

    @property
    def kind(self) -> tuple[str, str]:
        """Dimension and stage: units of one kind have scores of one size."""
        return self.key[1], self.stage


def units_of(
    group: ChannelGroup,
    scores: torch.Tensor,
    dims: tuple[str, ...],
    least: Mapping[WidthKey, int],
    freed: float | None = None,
) -> list[Units]:
    """Return the units of a group along each of ``dims`` that it has.

    Args:
        group: the channel group.
        scores: ``(channels,)``.
        dims: dimensions that may be pruned.
        least: width per dimension that a caller wants kept at least.
        freed: what removing all channels would free; None if that does not count.
    """
    found = []
    for dim in group.dims:
        if dim not in dims:
            continue
        values = _unit_scores(group, scores, dim)
        floor = max(FLOORS[dim], least[group.name, dim])
        each = 1.0 if freed is None else max(freed / len(values), 1.0)
        floor = min(floor, len(values))
        found.append(Units((group.name, dim), values, floor, each, group.stage))
    return found


def block_units(
    blocks: Sequence[str],
    groups: Sequence[ChannelGroup],
    scores: Mapping[str, torch.Tensor],
    freed: Mapping[str, float],
) -> list[Units]:
    """Return one unit per residual block that may be dropped.

    A block's score is the sum over its groups of the sum of their channels' scores, each divided
    by the mean of such sums over all groups of the same kind, so that attention and MLP have an
    equal say. The best block of every stage (blocks of the same parent) always stays.

    Args:
        blocks: paths of the blocks.
        groups: channel groups of the model.
        scores: ``(channels,)`` per group.
        freed: what dropping each block frees.
    """
    totals = {group.name: float(scores[group.name].sum()) for group in groups}
    kinds: dict[object, list[float]] = {}
    for group in groups:
        kinds.setdefault((group.dims, group.stage), []).append(totals[group.name])
    means = {kind: max(sum(values) / len(values), 1e-30) for kind, values in kinds.items()}
    shares = {g.name: totals[g.name] / means[g.dims, g.stage] for g in groups}
    values = {
        path: sum(share for name, share in shares.items() if name.startswith(f"{path}."))
        for path in blocks
    }
    best: dict[str, str] = {}
    for path in blocks:
        rival = best.setdefault(stage_of(path), path)
        best[stage_of(path)] = max(rival, path, key=values.__getitem__)
    return [
        Units((path, BLOCKS), torch.tensor([values[path]]), int(path in best.values()), freed[path])
        for path in blocks
    ]


def stage_of(path: str) -> str:
    """Return the stage of a block: the path of its parent."""
    return path.rpartition(".")[0]


def kept_channels(
    group: ChannelGroup, scores: torch.Tensor, keep: Mapping[WidthKey, int]
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
