"""Budgets: how many units of every dimension stay, and which blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgeprune.errors import PlanError
from edgeprune.families.base import WidthKey
from edgeprune.pruning.latency import Measure, reach_latency
from edgeprune.pruning.shrink import MORE_ROOM, UNROUNDED, Keep, Shrinking, by_share, shrinking
from edgeprune.pruning.units import BLOCKS, Units
from edgeprune.schema import Cost, LatencyCandidate

BUDGETS = ("channels", "params", "macs", "latency")
SCOPES = ("global", "isomorphic", "local")

# How near a budget of parameters or MACs must be met, relative.
TOLERANCE = 0.01

CostOf = Callable[[Mapping[WidthKey, int]], Cost]


@dataclass(frozen=True)
class Planned:
    """Units that stay per dimension, and what a reader should know about the choice.

    Attributes:
        keep: units that stay; a block that is dropped has 0 and no other entries.
        warnings: where the budget was not met exactly, and why.
        trace: models that were measured for a latency budget.
    """

    keep: Keep
    warnings: tuple[str, ...] = ()
    trace: tuple[LatencyCandidate, ...] = ()


def plan(
    units: Sequence[Units],
    original: Mapping[WidthKey, int],
    *,
    ratio: float,
    budget: str,
    scope: str,
    round_to: int,
    cost_of: CostOf,
    dense: Cost,
    measure: Measure | None = None,
) -> Planned:
    """Decide how many units of every dimension stay.

    Args:
        units: scored units of the model at its present widths.
        original: widths before any pruning; ``ratio`` is a share of these.
        ratio: share to remove of what ``budget`` names.
        budget: ``channels`` (the width of every kind of dimension), ``params``, ``macs`` or
            ``latency``.
        scope: ``local`` (the same share in every layer), ``isomorphic`` (one ranking per kind of
            dimension) or ``global`` (one ranking by score per cost freed; under ``channels`` one
            per kind, since that budget fixes each kind's share).
        round_to: widths become multiples of it, where they were not smaller already.
        cost_of: counts the model at given widths.
        dense: cost before any pruning.
        measure: measures a model of given widths; a latency budget needs it.

    Raises:
        PlanError: if the floors forbid the budget, naming the least that can be reached.
    """
    if budget == "channels":
        keep = by_share(units, original, ratio, scope, round_to)
        return Planned(keep, _channel_warnings(keep, original, ratio, round_to))
    sequence = shrinking(units, original, scope, round_to)
    if budget == "latency":
        if measure is None:
            raise ValueError("a latency budget needs something that measures")
        found = reach_latency(sequence, lambda keep: cost_of(keep).macs, ratio, measure, dense.macs)
        return Planned(found.keep, found.warnings, found.trace)
    full = getattr(dense, budget)
    costs: dict[frozenset[tuple[WidthKey, int]], int] = {}

    def cost(keep: Keep) -> int:
        key = frozenset(keep.items())
        if key not in costs:
            costs[key] = int(getattr(cost_of(keep), budget))
        return costs[key]

    keep = _reach(sequence, cost, (1 - ratio) * full, budget, full)
    reached = cost(keep)
    if abs(reached / ((1 - ratio) * full) - 1) <= TOLERANCE:
        return Planned(keep)
    note = f"{budget}: {reached / full:.1%} of dense is the nearest to {1 - ratio:.1%} that"
    return Planned(keep, (f"{note} rounding widths to {round_to} and the floors allow",))


def _reach(
    sequence: Shrinking,
    cost: Callable[[Keep], int],
    target: float,
    budget: str,
    full: int,
) -> Keep:
    """Return the widths whose cost is nearest to ``target``.

    One chunk of a wide layer can be more than the tolerance; what is then left over is taken
    from layers with smaller chunks.

    Raises:
        PlanError: if even the last step costs more.
    """
    least = cost(sequence.make(sequence.last))
    if least > target * (1 + TOLERANCE):
        highest = math.floor((1 - least / full) * 1000) / 1000  # rounded up, it would be refused
        raise PlanError(
            f"a budget of {target:,.0f} {budget} is below the least reachable, {least:,}"
            + (f" (--ratio {highest:g})" if highest else f" of {full:,}"),
            hint=MORE_ROOM,
        )
    found: list[Keep] = []
    finer: Shrinking | None = sequence
    while finer is not None:
        low, high = bracket(finer, lambda keep: cost(keep) > target)
        found += [finer.make(low), finer.make(high)]
        if min(abs(cost(keep) / target - 1) for keep in found[-2:]) <= TOLERANCE:
            break
        finer = finer.finer(low)
    return min(found, key=lambda keep: abs(cost(keep) - target))


def bracket(sequence: Shrinking, above: Callable[[Keep], bool]) -> tuple[int, int]:
    """Find by bisection two neighbouring steps, the first above the target, the other not.

    Both are the last step if that is above it too, or the first if that is not.
    """
    if not above(sequence.make(0)):
        return 0, 0
    if above(sequence.make(sequence.last)):
        return sequence.last, sequence.last
    low, high = 0, sequence.last
    while high - low > 1:
        middle = (low + high) // 2
        if above(sequence.make(middle)):
            low = middle
        else:
            high = middle
    return low, high


def _channel_warnings(
    keep: Keep, original: Mapping[WidthKey, int], ratio: float, round_to: int
) -> tuple[str, ...]:
    """Name the kinds of dimension whose share differs from what was asked by over a point."""
    notes = []
    for dim in sorted({key[1] for key in keep}):
        keys = [key for key in keep if key[1] == dim]
        before = [key for key in original if key[1] == dim] if dim == BLOCKS else keys
        share = sum(keep[key] for key in keys) / sum(original[key] for key in before)
        if abs(share - (1 - ratio)) > 0.01:
            what = "of them stay" if dim == BLOCKS else "of the width stays"
            notes.append(
                f"{dim}: {share:.1%} {what}, {1 - ratio:.1%} was asked"
                f" (floors, and widths in steps of {1 if dim in UNROUNDED else round_to})"
            )
    return tuple(notes)
