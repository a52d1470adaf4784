"""Measuring again until a verdict can be believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeprune.gate import speed
from edgeprune.gate.limits import Limits
from edgeprune.gate.pairs import Matched
from edgeprune.progress import Progress
from edgeprune.schema import Finding, Measurement

# Measuring anew takes so long per model and setting, and twice as long again while it has settled
# nothing, up to the second.
MIN_TIME_S, MAX_TIME_S = 5.0, 20.0


@dataclass(frozen=True)
class Measured:
    """What is checked: the measurements, how they were paired, and what to warn of."""

    measurements: list[Measurement]
    matched: Matched
    interleaved: bool | None
    warnings: list[str]
    environment: dict[str, Any]


def settle(
    measure: Callable[[float, int], Measured],
    limits: Limits,
    seconds: tuple[float, float],
    *,
    seed: int,
    progress: Progress,
) -> tuple[Measured, list[Finding]]:
    """Measure until no ratio is inconclusive, or twice as long would be too long.

    A latency that failed is measured once more in new processes, and fails only if it does again:
    two processes of the same model can differ for as long as they live (memory layout, cores,
    neighbours), which no interval from within one of them shows.

    Args:
        measure: measures both sides, for so many seconds, in its n-th turn.
        limits: what is accepted.
        seconds: of timed calls, at first and at most.
        seed: of the intervals.
        progress: where to say that it measures again.
    """
    spent, most = seconds
    turn = 0
    while True:
        measured = measure(spent, turn)
        findings = speed.compare(measured.matched, limits, seed=seed)
        if any(_is_ratio(row, "failed") for row in findings):
            progress.say(f"failed; measuring again in new processes, {spent:g} s per model")
            turn += 1
            second = speed.compare(measure(spent, turn).matched, limits, seed=seed)
            findings = confirm(findings, second)
        if 2 * spent > most or not any(_is_ratio(row, "inconclusive") for row in findings):
            return measured, findings
        spent *= 2
        turn += 1
        progress.say(f"inconclusive; measuring again, {spent:g} s per model")


def confirm(first: Sequence[Finding], second: Sequence[Finding]) -> list[Finding]:
    """Return the first findings; what failed then and not in the second is inconclusive."""
    found = []
    for row, again in zip(first, second, strict=True):
        if _is_ratio(row, "failed") and again.verdict != "failed":
            note = f"the ratio was {again.ratio:.3f} in other processes; the machine is unsteady"
            row = row.model_copy(update={"verdict": "inconclusive", "note": note})
        found.append(row)
    return found


def _is_ratio(row: Finding, verdict: str) -> bool:
    return row.verdict == verdict and row.ci95 is not None
