"""Which measurement is held against which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgeprune.errors import ResultError
from edgeprune.schema import BenchResult, Measurement

Setting = tuple[str, str, str, int, int]


@dataclass(frozen=True)
class Pair:
    """A measurement and its baseline in the same setting; ``interleaved`` if in the same rounds.

    Why the verdicts of a noisy run are not to be believed stands in ``distrust``: by verdict, what
    to say instead.
    """

    current: Measurement
    baseline: Measurement
    interleaved: bool
    distrust: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Matched:
    """Pairs, and the measurements of either side that have no counterpart on the other."""

    pairs: list[Pair]
    missing: list[Measurement]
    new: list[Measurement]


def setting(measurement: Measurement) -> Setting:
    """Return everything but the model that two comparable measurements share."""
    return (
        measurement.runtime,
        measurement.device,
        measurement.precision,
        measurement.threads,
        measurement.batch,
    )


def in_words(measurement: Measurement) -> str:
    """Name a measurement for a person."""
    runtime, device, precision, threads, batch = setting(measurement)
    return (
        f"{measurement.model} ({runtime}, {device}, {precision}, threads {threads}, batch {batch})"
    )


def within(result: BenchResult, name: str) -> Matched:
    """Pair the models of one result with the baseline that was measured beside them.

    That may be of another precision: an int8 file is held against the fp32 one it was made from.

    Raises:
        ResultError: if a comparison names a measurement that the result does not hold.
    """
    rows = _by_key(result.measurements, name).values()
    found = {(row.model, *_side_by_side(row)): row for row in rows}
    names = {(row.model, row.batch): row.baseline for row in result.comparisons}
    pairs = []
    for measurement in rows:
        model, baseline = measurement.model, names.get((measurement.model, measurement.batch))
        if baseline is None:
            continue
        base = found.get((baseline, *_side_by_side(measurement)))
        if base is None:
            raise ResultError(
                f"{name!r} is damaged: it compares {model!r} with {baseline!r}, which it lacks"
            )
        pairs.append(Pair(measurement, base, interleaved=True))
    return Matched(pairs, missing=[], new=[])


def across(
    current: BenchResult,
    baseline: BenchResult,
    current_name: str,
    baseline_name: str,
    distrust: dict[str, str],
) -> Matched:
    """Pair the models of two results by name and setting.

    Raises:
        ResultError: if they have nothing in common, or one holds the same measurement twice.
    """
    here, there = (
        _by_key(current.measurements, current_name),
        _by_key(baseline.measurements, baseline_name),
    )
    pairs = [
        Pair(measurement, there[key], interleaved=False, distrust=distrust)
        for key, measurement in here.items()
        if key in there
    ]
    if not pairs:
        raise ResultError(
            f"{current_name!r} and {baseline_name!r} have no measurement in common:"
            f" {_first(here)} in the one, {_first(there)} in the other"
        )
    return Matched(
        pairs,
        missing=[measurement for key, measurement in there.items() if key not in here],
        new=[measurement for key, measurement in here.items() if key not in there],
    )


def _side_by_side(measurement: Measurement) -> tuple[str, str, int, int]:
    """Return what two models share that were measured beside each other, in any precision."""
    return measurement.runtime, measurement.device, measurement.threads, measurement.batch


def _by_key(
    measurements: Sequence[Measurement], name: str
) -> dict[tuple[str, Setting], Measurement]:
    keys = Counter((measurement.model, setting(measurement)) for measurement in measurements)
    for measurement in measurements:
        if keys[measurement.model, setting(measurement)] > 1:
            raise ResultError(f"{name!r} is damaged: it holds {in_words(measurement)} twice")
    return {(measurement.model, setting(measurement)): measurement for measurement in measurements}


def _first(found: dict[tuple[str, Setting], Measurement]) -> str:
    return next((in_words(measurement) for measurement in found.values()), "nothing")
