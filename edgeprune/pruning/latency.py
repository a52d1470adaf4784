"""A latency budget: candidates are measured beside the model as it came until one fits.

MACs predict latency badly, but a model that shrinks along one sequence gets faster step by step,
nearly in a straight line over its MACs. So the next candidate is where the line through the last
two measurements meets the target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgeprune.errors import PlanError
from edgeprune.families.base import WidthKey
from edgeprune.pruning.shrink import MORE_ROOM, Keep, Shrinking
from edgeprune.schema import LatencyCandidate

# How near the latency must come, relative, and after how many measurements the search gives up.
TOLERANCE = 0.05
MAX_CANDIDATES = 8

Measure = Callable[[Mapping[WidthKey, int]], LatencyCandidate]


@dataclass(frozen=True)
class Reached:
    """The widths that were found, what was measured, and what a reader should know."""

    keep: Keep
    trace: tuple[LatencyCandidate, ...]
    warnings: tuple[str, ...] = ()


def reach_latency(
    sequence: Shrinking,
    macs_of: Callable[[Keep], int],
    ratio: float,
    measure: Measure,
    full: int,
) -> Reached:
    """Find the step whose measured latency is ``1 - ratio`` of the model's as it came.

    Args:
        sequence: ever smaller models.
        macs_of: counts the MACs of a model of given widths.
        ratio: share of the latency to remove.
        measure: measures a model of given widths.
        full: MACs of the model as it came.

    Raises:
        PlanError: if the smallest model is too slow, or no candidate comes near enough.
    """
    if sequence.last == 0:
        raise PlanError("nothing can be removed: every width is at its floor already")
    search = _Search(sequence, macs_of, 1 - ratio, measure, full)
    while not search.done():
        search.try_step(search.next_step())
    step = search.nearest()
    found = search.measured[step]
    reached = Reached(sequence.make(step), tuple(search.measured.values()))
    if search.error(step) <= TOLERANCE:
        return reached
    asked = f"{1 / (1 - ratio):.2f}x"
    if search.low == sequence.last:
        found = search.measured[sequence.last]
        raise PlanError(
            f"a speed-up of {asked} is out of reach: the smallest model that the floors allow is"
            f" {found.speedup:.2f}x faster ({found.latency_ms:.3g} ms)",
            hint=MORE_ROOM,
        )
    if search.high - search.low > 1:
        raise PlanError(
            f"no model within {TOLERANCE:.0%} of a speed-up of {asked} was found in"
            f" {len(search.measured)} measurements; the nearest is {found.speedup:.2f}x faster",
            hint="measure on a quiet machine",
        )
    note = f"latency: {found.speedup:.2f}x faster is the nearest to {asked} that rounding allows"
    return Reached(reached.keep, reached.trace, (note,))


@dataclass
class _Search:
    """A bracket of steps: at ``low`` the model is too slow, at ``high`` fast enough."""

    sequence: Shrinking
    macs_of: Callable[[Keep], int]
    target: float
    measure: Measure
    full: int
    low: int = 0
    high: int = 0
    measured: dict[int, LatencyCandidate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.high = self.sequence.last + 1  # nothing is known to be fast enough yet

    def done(self) -> bool:
        near = any(self.error(step) <= TOLERANCE for step in self.measured)
        return near or self.high - self.low <= 1 or len(self.measured) >= MAX_CANDIDATES

    def share(self, step: int) -> float:
        """Latency of a measured step as a share of the model's as it came."""
        return 1 / self.measured[step].speedup if step else 1.0

    def error(self, step: int) -> float:
        return abs(self.share(step) / self.target - 1)

    def nearest(self) -> int:
        return min(self.measured, key=self.error)

    def try_step(self, step: int) -> None:
        self.measured[step] = self.measure(self.sequence.make(step))
        if self.share(step) > self.target:
            self.low = step
        else:
            self.high = step

    def next_step(self) -> int:
        """Return the step where the line through the bracket's ends meets the target."""
        slow = (self._macs(self.low), self.share(self.low))
        if self.high in self.measured:
            fast = (self._macs(self.high), self.share(self.high))
        elif self.low:
            fast, slow = slow, (float(self.full), 1.0)
        else:
            fast = (0.0, 0.0)
        slope = (slow[1] - fast[1]) / (slow[0] - fast[0]) if slow[0] != fast[0] else 0.0
        macs = fast[0] + (self.target - fast[1]) / slope if slope > 0 else 0.0
        last = min(self.high - 1, self.sequence.last)
        return min(max(self._step_of(macs), self.low + 1), last)

    def _macs(self, step: int) -> float:
        return float(self.measured[step].macs if step else self.full)

    def _step_of(self, macs: float) -> int:
        """Return the first step that has no more MACs."""
        low, high = 0, self.sequence.last
        while high - low > 1:
            middle = (low + high) // 2
            if self.macs_of(self.sequence.make(middle)) > macs:
                low = middle
            else:
                high = middle
        return high
