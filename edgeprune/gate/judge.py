"""The verdict on two sets of latencies: a pure function of the samples and the limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeprune.benchmarking import stats
from edgeprune.benchmarking.stats import Samples
from edgeprune.gate.limits import LatencyLimit

Verdict = Literal["passed", "failed", "inconclusive"]

# Another program slows some rounds down, a slower model all of them: these are the rounds that
# were disturbed least.
QUIET_ROUNDS = 10
# Beyond so many times the measuring time, "measure longer" is no advice.
LONGEST = 100


@dataclass(frozen=True)
class Judgement:
    """The ratio of current to baseline with its 95 % interval, the verdict, and what it needs."""

    ratio: float
    ci95: tuple[float, float]
    verdict: Verdict
    note: str | None = None


def judge(
    current: Sequence[Samples],
    baseline: Sequence[Samples],
    limit: LatencyLimit,
    *,
    interleaved: bool,
    seconds: float,
    seed: int = 0,
    resamples: int = stats.RESAMPLES,
) -> Judgement:
    """Compare latencies (ms, by round) of a model with those of its baseline.

    It fails only where the whole interval lies beyond the limit, and passes only where none of it
    does. ``interleaved`` says that round k of both was measured side by side. Two separate runs
    must moreover agree with the rounds that were disturbed least: a neighbour that was there in
    one run only is no regression, and hides none. ``seconds`` is for how long each was measured.

    Raises:
        ValueError: if there are fewer than two rounds, or an empty one.
    """
    if interleaved and limit.percentile == 50:
        ratio, ci95 = stats.round_by_round_ratio(current, baseline, seed=seed, resamples=resamples)
    else:
        ratio, ci95 = stats.ratio(
            current,
            baseline,
            q=limit.percentile,
            paired=interleaved,
            seed=seed,
            resamples=resamples,
        )
    verdict = _verdict(ci95, limit.ratio)
    if verdict == "inconclusive":
        return Judgement(ratio, ci95, verdict, _longer(ratio, ci95, limit.ratio, seconds))
    if not interleaved:
        quiet = quiet_ratio(current, baseline, limit.percentile)
        if (quiet > limit.ratio) != (verdict == "failed"):
            return Judgement(ratio, ci95, "inconclusive", _disagreement(ratio, quiet))
    return Judgement(ratio, ci95, verdict)


def quiet_ratio(current: Sequence[Samples], baseline: Sequence[Samples], q: int) -> float:
    """Return the ratio of the ``q``-th percentiles of the rounds that were disturbed least."""
    quiet = [
        float(np.percentile([np.percentile(samples, q) for samples in rounds], QUIET_ROUNDS))
        for rounds in (current, baseline)
    ]
    return quiet[0] / quiet[1]


def _verdict(ci95: tuple[float, float], limit: float) -> Verdict:
    low, high = ci95
    if low > limit:
        return "failed"
    return "passed" if high <= limit else "inconclusive"


def _longer(ratio: float, ci95: tuple[float, float], limit: float, seconds: float) -> str:
    """Say how long to measure: an interval shrinks with the square root of the time."""
    end = ci95[0] if ratio > limit else ci95[1]
    reach, distance = abs(math.log(end / ratio)), abs(math.log(limit / ratio))
    if distance * math.sqrt(LONGEST) <= reach:
        return "too close to the limit, or too noisy, for longer measuring to settle it"
    needed = math.ceil(seconds * (reach / distance) ** 2) + 1
    return f"measuring each for about {needed} s would settle it (--min-time {needed})"


def _disagreement(ratio: float, quiet: float) -> str:
    return (
        f"all rounds say {ratio:.2f}x, the least disturbed ones {quiet:.2f}x: the machine was"
        " busier in one of the runs; measure again, or side by side with --against"
    )
