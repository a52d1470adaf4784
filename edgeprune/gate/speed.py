"""Findings on latency, size and memory: a pure function of two sets of measurements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeprune.benchmarking.raw import unpack
from edgeprune.benchmarking.run_queue import STARVED_SHARE, starved
from edgeprune.benchmarking.stats import MIN_SAMPLES, Samples
from edgeprune.errors import ResultError
from edgeprune.gate.judge import Judgement, judge
from edgeprune.gate.limits import LatencyLimit, Limits
from edgeprune.gate.pairs import Matched, Pair
from edgeprune.schema import Finding, Measurement

# A float32 keeps seven digits; what is further off is not of the same calls.
RAW_TOLERANCE = 1e-4
MIN_ROUNDS = 2


def compare(matched: Matched, limits: Limits, *, seed: int = 0) -> list[Finding]:
    """Hold every pair against the limits; what has lost its measurement is inconclusive.

    Raises:
        ResultError: if the calls of a measurement are damaged.
    """
    found = []
    for pair in matched.pairs:
        found += [_latency(pair, limit, seed) for limit in limits.latency]
        found += _growths(pair, limits)
    for measurement in matched.missing:
        found += [_missing(measurement, limit) for limit in limits.latency]
    return found


def finding(measurement: Measurement, **facts: Any) -> Finding:
    """Return a finding in the setting of ``measurement``; what is not given is null."""
    unknown = dict.fromkeys(("baseline", "current", "ratio", "ci95"))
    return Finding(
        **{
            **unknown,
            "model": measurement.model,
            "runtime": measurement.runtime,
            "device": measurement.device,
            "precision": measurement.precision,
            "batch": measurement.batch,
            "threads": measurement.threads,
            **facts,
        }
    )


def _latency(pair: Pair, limit: LatencyLimit, seed: int) -> Finding:
    current, baseline = pair.current, pair.baseline
    facts = {
        "metric": limit.metric,
        "unit": "ms",
        "against": baseline.model,
        "baseline": _quoted(baseline, limit),
        "current": _quoted(current, limit),
        "limit": limit.ratio,
    }
    note = _why_not(pair, limit)
    if note is not None:
        return finding(current, **facts, verdict="inconclusive", note=note)
    rounds = _rounds(current), _rounds(baseline)
    seconds = min(
        row.samples * (row.latency_ms.mean or 0.0) / 1000 for row in (pair.current, pair.baseline)
    )
    paired = pair.interleaved and len(rounds[0]) == len(rounds[1])
    judgement = judge(*rounds, limit, interleaved=paired, seconds=seconds, seed=seed)
    judgement = _trusted(judgement, pair)
    return finding(
        current,
        **facts,
        ratio=judgement.ratio,
        ci95=judgement.ci95,
        verdict=judgement.verdict,
        note=judgement.note,
    )


def _trusted(judgement: Judgement, pair: Pair) -> Judgement:
    note = _starved(pair) or pair.distrust.get(judgement.verdict)
    if note is None:
        return judgement
    return Judgement(judgement.ratio, judgement.ci95, "inconclusive", note)


def _starved(pair: Pair) -> str | None:
    """Return which side did not get the cores that it wanted, and what would settle it."""
    for row, who in ((pair.current, "the current figure"), (pair.baseline, "the baseline")):
        if starved(row.waiting_share):
            return (
                f"{who} was starved: it waited for a core for {row.waiting_share:.0%} of the time"
                f" (at most {STARVED_SHARE:.0%} is accepted); stop the other programs, or use fewer"
                " --threads, no more than there are free cores, and measure again"
            )
    return None


def _why_not(pair: Pair, limit: LatencyLimit) -> str | None:
    """Return why there can be no verdict, and what would allow one."""
    for row, who in ((pair.current, "the current figure"), (pair.baseline, "the baseline")):
        if row.estimated:
            return f"{who} is an estimate; only measurements are compared"
        if row.raw is None:
            return f"{who} has no single calls, from which an interval follows; measure it again"
        if len(row.raw.rounds) < MIN_ROUNDS:
            return f"{who} has {len(row.raw.rounds)} round; measure it again"
        if _quoted(row, limit) is None:
            return (
                f"{who} has {row.samples} calls, too few for {limit.metric}"
                f" ({MIN_SAMPLES[limit.percentile]} are needed); use a longer --min-time"
            )
    return None


def _quoted(measurement: Measurement, limit: LatencyLimit) -> float | None:
    times = measurement.latency_ms
    known = {"median": times.p50, "p90": times.p90, "p95": times.p95, "p99": times.p99}
    return known[limit.metric]


def _rounds(measurement: Measurement) -> list[Samples]:
    """Return the calls, which must be those that the summary was made from."""
    import numpy as np

    raw, p50 = measurement.raw, measurement.latency_ms.p50
    if raw is None:
        raise ValueError("a measurement without calls")
    try:
        rounds = unpack(raw)
    except ValueError as problem:
        raise ResultError(f"the calls of {measurement.model!r} are damaged: {problem}") from None
    median = float(np.median(np.concatenate(rounds)))
    if raw.every == 1 and abs(median / p50 - 1) > RAW_TOLERANCE:
        raise ResultError(
            f"the result of {measurement.model!r} is damaged: the median of its calls is"
            f" {median:.6g} ms, not {p50:.6g} ms"
        )
    return rounds


def _growths(pair: Pair, limits: Limits) -> Iterator[Finding]:
    """Compare sizes: one figure each, so there is no interval."""
    current, baseline = pair.current, pair.baseline
    wanted = (
        ("weights", limits.size_ratio, True),
        ("peak_rss", limits.memory_ratio, True),
        # Only a device has it.
        ("device_peak", limits.memory_ratio, current.device != "cpu"),
    )
    for metric, limit, applies in wanted:
        if limit is None or not applies:
            continue
        before = getattr(baseline.memory_mb, metric)
        after = getattr(current.memory_mb, metric)
        facts = {
            "metric": metric,
            "unit": "MB",
            "against": baseline.model,
            "baseline": before,
            "current": after,
            "limit": limit,
        }
        if not before or after is None:
            note = "not known of both; it cannot be compared"
            yield finding(current, **facts, verdict="inconclusive", note=note)
        else:
            ratio = after / before
            verdict = "passed" if ratio <= limit else "failed"
            yield finding(current, **facts, ratio=ratio, verdict=verdict)


def _missing(measurement: Measurement, limit: LatencyLimit) -> Finding:
    return finding(
        measurement,
        metric=limit.metric,
        unit="ms",
        baseline=_quoted(measurement, limit),
        limit=limit.ratio,
        verdict="inconclusive",
        note="the baseline has it and the current result does not; measure it, or renew the"
        " baseline",
    )
