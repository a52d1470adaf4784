"""Selection metrics: how much the network would miss a channel.

A metric is one function from a :class:`Scoring` to a score per channel of every group; the lower,
the sooner a channel goes. Add one with the ``@metric`` decorator; its docstring is its
documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from edgeprune.errors import UsageError, one_of
from edgeprune.families import ChannelGroup
from edgeprune.pruning.first_order import first_order_sums
from edgeprune.pruning.fisher import Batch, mean_squared_gradients
from edgeprune.pruning.graph import Member

Scores = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Scoring:
    """What a metric may look at.

    Attributes:
        module: the network.
        groups: channel groups and the parameter slices of each.
        batches: calibration images ``(batch, 3, size, size)`` and labels ``(batch,)`` from the
            source domains; empty for metrics that need none.
        seed: for metrics that draw lots.
    """

    module: nn.Module
    groups: Sequence[tuple[ChannelGroup, Sequence[Member]]]
    batches: Iterable[Batch]
    seed: int

    def sum_slices(self, elementwise: dict[str, torch.Tensor]) -> Scores:
        """Add up a value per weight over all weights of every channel."""
        return {
            group.name: sum_members(members, elementwise, group.channels)
            for group, members in self.groups
        }


@dataclass(frozen=True)
class Metric:
    """A registered metric."""

    name: str
    needs_data: bool
    score: Callable[[Scoring], Scores]


_METRICS: dict[str, Metric] = {}


def metric(
    name: str, *, needs_data: bool
) -> Callable[[Callable[[Scoring], Scores]], Callable[[Scoring], Scores]]:
    """Register a metric under ``name``."""

    def add(score: Callable[[Scoring], Scores]) -> Callable[[Scoring], Scores]:
        _METRICS[name] = Metric(name, needs_data, score)
        return score

    return add


def metric_names() -> list[str]:
    """Return the names of all metrics."""
    return sorted(_METRICS)


def get_metric(name: str) -> Metric:
    """Return a metric by name.

    Raises:
        UsageError: if there is none of that name.
    """
    return _METRICS[one_of(name, "metric", metric_names())]


def require_data(chosen: Metric, has_data: bool) -> None:
    """Check that calibration images are there if ``chosen`` needs them.

    Raises:
        UsageError: naming the metrics that need none.
    """
    if chosen.needs_data and not has_data:
        free = [name for name in metric_names() if not _METRICS[name].needs_data]
        raise UsageError(
            f"metric {chosen.name!r} needs calibration images: --data ROOT --target DOMAIN",
            hint=f"metrics that need none: {', '.join(free)}",
        )


def sum_members(
    members: Sequence[Member], elementwise: dict[str, torch.Tensor], channels: int
) -> torch.Tensor:
    """Sum ``elementwise`` over the slices of each channel; returns ``(channels,)``."""
    total = torch.zeros(channels)
    for member in members:
        values = elementwise[member.parameter]
        others = [axis for axis in range(values.dim()) if axis != member.axis % values.dim()]
        sums = values.sum(others) if others else values
        total += sums[member.index]
    return total


def _weights(scoring: Scoring) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in scoring.module.named_parameters()}


@metric("random", needs_data=False)
def random(scoring: Scoring) -> Scores:
    """Uniform random numbers: the floor that every other metric must beat."""
    generator = torch.Generator().manual_seed(scoring.seed)
    return {
        group.name: torch.rand(group.channels, generator=generator) for group, _ in scoring.groups
    }


@metric("l1", needs_data=False)
def l1(scoring: Scoring) -> Scores:
    """Sum of absolute weights of a channel (Li et al., ICLR 2017, over the whole group)."""
    return scoring.sum_slices({name: w.abs() for name, w in _weights(scoring).items()})


@metric("l2", needs_data=False)
def l2(scoring: Scoring) -> Scores:
    """Euclidean norm of all weights of a channel."""
    squares = scoring.sum_slices({name: w.square() for name, w in _weights(scoring).items()})
    return {name: total.sqrt() for name, total in squares.items()}


@metric("taylor", needs_data=True)
def taylor(scoring: Scoring) -> Scores:
    """First-order change of the loss: mean over images of ``|sum_w g_w w|`` over a channel.

    Molchanov et al. (CVPR 2019), the sum taken over all weights of the group and the absolute
    value per image, so that images do not cancel each other.
    """
    totals = {group.name: torch.zeros(group.channels) for group, _ in scoring.groups}
    images_seen = 0
    for images, labels in scoring.batches:
        sums = first_order_sums(scoring.module, images, labels)
        for group, members in scoring.groups:
            per_image = torch.zeros(len(images), group.channels)
            for member in members:
                per_image += sums[member.parameter, member.axis][:, member.index]
            totals[group.name] += per_image.abs().sum(0)
        images_seen += len(images)
    return {name: total / max(images_seen, 1) for name, total in totals.items()}


@metric("hessian", needs_data=True)
def hessian(scoring: Scoring) -> Scores:
    """Second-order change of the loss: ``sum_w F_w w^2`` over a channel.

    ``F_w`` is the mean over images of the squared gradient of that image alone, the diagonal of
    the empirical Fisher matrix, which stands for the Hessian (LeCun et al., 1990).
    """
    fisher = mean_squared_gradients(scoring.module, scoring.batches)
    return scoring.sum_slices(
        {name: fisher[name] * w.square() for name, w in _weights(scoring).items()}
    )
