"""As many images as possible, whenever they are done (MLPerf: offline).

The batch size grows until the throughput does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgeprune.benchmarking.candidates import Source
from edgeprune.benchmarking.groups import Setup, measure_group
from edgeprune.benchmarking.results import Measured
from edgeprune.benchmarking.scenarios.base import Options, Outcome
from edgeprune.errors import ModelError, UnavailableError, UsageError
from edgeprune.schema import Saturation, ThroughputPoint

NEEDS: tuple[str, ...] = ()
COMPARES = True

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Saturated: so many batch sizes in a row that are not this much better than the best before.
GAIN = 1.05
PATIENCE = 2
# What a batch size fails with that a model cannot be run with.
ENDS = (ModelError, UnavailableError, UsageError)


@dataclass
class _Sweep:
    """The batch sizes of one model so far."""

    points: list[ThroughputPoint] = field(default_factory=list)
    ended_by: Literal["saturated", "largest_batch", "failed"] | None = None

    def add(self, batch: int, throughput_ips: float) -> None:
        self.points.append(ThroughputPoint(batch=batch, throughput_ips=throughput_ips))
        if saturated([point.throughput_ips for point in self.points]):
            self.ended_by = "saturated"

    @property
    def best(self) -> ThroughputPoint:
        return max(self.points, key=lambda point: point.throughput_ips)


def measure(setup: Setup, options: Options) -> Outcome:
    """Measure growing batch sizes of all models; those that are saturated drop out.

    A batch size that a model cannot be run with any more, for lack of memory or because its file
    does not take it, ends its sweep with a warning; the first one must be possible.
    """
    batches = sorted({*(options.batches or BATCHES)})
    sweeps = {source.label: _Sweep() for source in setup.sources}
    outcome = Outcome([])
    for batch in batches:
        active = [source for source in setup.sources if sweeps[source.label].ended_by is None]
        if not active:
            break
        try:
            measured = measure_group(setup, active, batch)
        except ENDS:
            if batch == batches[0]:
                raise
            measured = _those_that_can(setup, active, batch, sweeps, outcome)
        for entry in measured:
            sweeps[entry.source.label].add(batch, entry.throughput_ips)
        outcome.measured += measured
    outcome.saturation = _summary(sweeps, setup.baseline)
    outcome.measured = _by_model(outcome.measured, list(sweeps))
    return outcome


def saturated(throughputs: Sequence[float]) -> bool:
    """Tell whether the last batch sizes were no gain over the best of those before them."""
    before, last = throughputs[:-PATIENCE], throughputs[-PATIENCE:]
    return bool(before) and max(last) < GAIN * max(before)


def _those_that_can(
    setup: Setup,
    active: Sequence[Source],
    batch: int,
    sweeps: dict[str, _Sweep],
    outcome: Outcome,
) -> list[Measured]:
    """Measure a batch size model by model: one of them failed, and nobody tells which."""
    measured = []
    for source in active:
        try:
            measured += measure_group(setup, [source], batch)
        except ENDS as error:
            sweeps[source.label].ended_by = "failed"
            outcome.warnings.append(
                f"{source.label}: batch {batch} ended its sweep, it could not be run: {error}"
            )
    return measured


def _summary(sweeps: dict[str, _Sweep], baseline: str | None) -> list[Saturation]:
    over = sweeps[baseline].best.throughput_ips if baseline is not None else None
    return [
        Saturation(
            model=label,
            batch=sweep.best.batch,
            throughput_ips=sweep.best.throughput_ips,
            ended_by=sweep.ended_by or "largest_batch",
            over_baseline=(
                sweep.best.throughput_ips / over if over and label != baseline else None
            ),
            points=sweep.points,
        )
        for label, sweep in sweeps.items()
    ]


def _by_model(measured: list[Measured], labels: list[str]) -> list[Measured]:
    return sorted(measured, key=lambda entry: labels.index(entry.source.label))
