"""What a selection metric may look at, and the registry of metrics.

A metric is one function from a :class:`Scoring` to a score per channel of every group: how much
the network would miss the channel. The lower, the sooner it goes; none is negative, since a
ranking divides scores by what a removal frees. The scores of a head's dims add up to that of the
head.

A new metric is a new file in this package with one function under ``@metric``, whose docstring
gives the formula and its source.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from edgeprune.errors import UsageError, one_of
from edgeprune.families import ChannelGroup
from edgeprune.pruning.fisher import Batch
from edgeprune.pruning.graph import Member

Scores = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Scoring:
    """What a metric may look at.

    Attributes:
        module: the network.
        groups: channel groups and the parameter slices of each.
        batches: calibration images ``(batch, 3, size, size)`` and labels ``(batch,)`` from the
            source domains; empty without calibration images.
        by_domain: the same images, source domain after source domain; the batches of one are to
            be used up before the next is asked for. A metric goes through this or ``batches``,
            once.
        seed: for metrics that draw lots.
        dg_lambda: weight of the standard deviation over domains; None means the metric's own.
    """

    module: nn.Module
    groups: Sequence[tuple[ChannelGroup, Sequence[Member]]]
    batches: Iterable[Batch] = ()
    by_domain: Iterable[tuple[str, Iterable[Batch]]] = ()
    seed: int = 0
    dg_lambda: float | None = None

    def sum_slices(self, value: Callable[[str, torch.Tensor], torch.Tensor]) -> Scores:
        """Add up a value per weight over all weights of every channel.

        Args:
            value: gives the values of a parameter, in its shape, from its name and weights. It is
                asked for one parameter after another, so that no more than one is held.
        """
        parts: dict[str, list[tuple[str, Member]]] = {}
        for group, members in self.groups:
            for member in members:
                parts.setdefault(member.parameter, []).append((group.name, member))
        totals = {group.name: torch.zeros(group.channels) for group, _ in self.groups}
        for name, weights in self.module.named_parameters():
            if name in parts:
                values = value(name, weights.detach())
                for group_name, member in parts[name]:
                    totals[group_name] += _along(values, member.axis)[member.index]
        return totals


@dataclass(frozen=True)
class Metric:
    """A registered metric.

    Attributes:
        name: what ``--metric`` takes.
        score: the function.
        needs_data: whether it looks at calibration images.
        needs_domains: whether it compares source domains, and so needs images of each.
        settings: the fields of PruneSettings that it alone reads.
    """

    name: str
    score: Callable[[Scoring], Scores]
    needs_data: bool
    needs_domains: bool
    settings: tuple[str, ...]


_METRICS: dict[str, Metric] = {}


def metric(
    name: str,
    *,
    needs_data: bool = False,
    needs_domains: bool = False,
    settings: tuple[str, ...] = (),
) -> Callable[[Callable[[Scoring], Scores]], Callable[[Scoring], Scores]]:
    """Register a metric under ``name``; see :class:`Metric` for the rest.

    Raises:
        ValueError: if the name is taken.
    """

    def add(score: Callable[[Scoring], Scores]) -> Callable[[Scoring], Scores]:
        if name in _METRICS:
            raise ValueError(f"there are two metrics {name!r}")
        _METRICS[name] = Metric(name, score, needs_data or needs_domains, needs_domains, settings)
        return score

    return add


def _load_all() -> dict[str, Metric]:
    package = importlib.import_module("edgeprune.pruning.metrics")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return _METRICS


def metric_names() -> list[str]:
    """Return the names of all metrics."""
    return sorted(_load_all())


def metrics_with(setting: str) -> list[str]:
    """Return the names of the metrics that read a setting of their own."""
    return [name for name in metric_names() if setting in _METRICS[name].settings]


def get_metric(name: str) -> Metric:
    """Return a metric by name.

    Raises:
        UsageError: if there is none of that name.
    """
    return _load_all()[one_of(name, "metric", metric_names())]


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


def check_domains(chosen: Metric, images: Mapping[str, int]) -> list[str]:
    """Return a note if source domains have no calibration image.

    Args:
        chosen: the metric.
        images: how many calibration images every source domain has.

    Raises:
        UsageError: if ``chosen`` compares domains and any has none, or there is one domain only.
    """
    if chosen.needs_domains and len(images) == 1:
        (only,) = images
        raise UsageError(
            f"metric {chosen.name!r} compares source domains, and there is one, {only!r}",
            hint="with one source domain: --metric hessian",
        )
    missing = ", ".join(repr(domain) for domain, count in images.items() if not count)
    if not missing:
        return []
    found = f"source domains without a calibration image: {missing}"
    enough = f"--samples {len(images)} or more takes some of each"
    if chosen.needs_domains:
        raise UsageError(f"{found}; metric {chosen.name!r} compares all of them: {enough}")
    return [f"{found}; {enough}"]


def _along(values: torch.Tensor, axis: int) -> torch.Tensor:
    """Sum over all axes but one."""
    others = [other for other in range(values.dim()) if other != axis % values.dim()]
    return values.sum(others) if others else values
