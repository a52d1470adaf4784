"""The timings of a sweep by the weights that were timed; measured and estimated stay apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log

from edgeprune.reporting.sweep.document import Speed
from edgeprune.schema import BenchResult, Comparison, Measurement
from edgeprune.sweeping.results import Row

Setting = tuple[str, str, str, int, int, bool]


def setting_of(speed: Speed) -> Setting:
    """Return what must agree for two speed-ups to stand in one column."""
    return (
        speed.runtime,
        speed.device,
        speed.precision,
        speed.threads,
        speed.batch,
        speed.estimated,
    )


def speeds_by_fingerprint(
    rows: Sequence[Row], benches: Mapping[str, BenchResult]
) -> tuple[dict[str, list[Speed]], list[str]]:
    """Return the speed-ups over dense of every artifact that was timed, and warnings.

    A comparison counts where model and baseline were both measured once at its batch, alike, as
    weights that trials of one model hold now, the baseline as a dense one.
    """
    owners = {row.result.fingerprint: row for row in rows if row.result is not None}
    found: dict[str, list[Speed]] = {}
    warnings: list[str] = []
    for name, bench in benches.items():
        warnings += [f"timing of {name}: {text}" for text in bench.warnings]
        for comparison in bench.comparisons:
            pair = _pair(comparison, bench.measurements)
            why = _refusal(pair, owners) if pair else "is not measured exactly once"
            if pair is None or why:
                warnings.append(
                    f"timing of {name}: {comparison.model} at batch {comparison.batch} {why};"
                    " its speed-up is left out"
                )
                continue
            own, baseline = pair
            speed = _speed(own, baseline, comparison)
            found.setdefault(own.fingerprint or "", []).append(speed)
            one = speed.model_copy(update={"speedup": 1.0, "ci95": None})
            known = found.setdefault(baseline.fingerprint or "", [])
            if setting_of(one) not in {setting_of(other) for other in known}:
                known.append(one)
    return found, warnings


def _pair(
    comparison: Comparison, measurements: Sequence[Measurement]
) -> tuple[Measurement, Measurement] | None:
    sides = [
        [m for m in measurements if (m.model, m.batch) == (name, comparison.batch)]
        for name in (comparison.model, comparison.baseline)
    ]
    return (sides[0][0], sides[1][0]) if all(len(side) == 1 for side in sides) else None


def _refusal(pair: tuple[Measurement, Measurement], owners: Mapping[str, Row]) -> str | None:
    own, baseline = pair
    trial, dense = owners.get(own.fingerprint or ""), owners.get(baseline.fingerprint or "")
    if trial is None:
        return "was timed with weights that no trial here holds"
    if dense is None or dense.key.kind != "dense" or dense.key.model != trial.key.model:
        return "was not timed against a dense trial of its model"
    if _how(own) != _how(baseline):
        return "and its baseline were timed differently"
    return None


def _how(m: Measurement) -> tuple[str, str, str, int]:
    return (m.runtime, m.device, m.precision, m.threads)


def _speed(own: Measurement, baseline: Measurement, comparison: Comparison) -> Speed:
    return Speed(
        runtime=own.runtime,
        device=own.device,
        precision=own.precision,
        batch=own.batch,
        threads=own.threads,
        estimated=own.estimated or baseline.estimated,
        speedup=comparison.speedup,
        ci95=comparison.ci95,
        trials=1,
    )


def pooled(speeds: Sequence[Speed]) -> list[Speed]:
    """Return one speed-up per setting over all trials of a row, in order of settings."""
    groups: dict[Setting, list[Speed]] = {}
    for speed in speeds:
        groups.setdefault(setting_of(speed), []).append(speed)
    result = []
    for _, members in sorted(groups.items(), key=lambda item: item[0]):
        intervals = [s.ci95 for s in members if s.ci95]
        result.append(
            members[0].model_copy(
                update={
                    "speedup": exp(sum(log(s.speedup) for s in members) / len(members)),
                    "ci95": (min(i[0] for i in intervals), max(i[1] for i in intervals))
                    if intervals
                    else None,
                    "trials": len(members),
                }
            )
        )
    return result
