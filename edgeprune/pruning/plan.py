"""Budgets: how many units of every dimension stay.

Widths are handed out in chunks of ``round_to`` units, best first, so that rounding and the total
are met together: a chunk is worth the mean score of its units, chunks of one layer fall in value,
and the ranking decides which to drop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgeprune.errors import PlanError
from edgeprune.families.base import WidthKey
from edgeprune.pruning.units import Units
from edgeprune.schema import Cost

BUDGETS = ("channels", "params", "macs")
SCOPES = ("global", "isomorphic", "local")

# Dimensions counted in units that no kernel rounds.
UNROUNDED = ("heads",)

# How near a budget of parameters or MACs must be met, relative.
TOLERANCE = 0.01

# Resolution of the share when every kind of dimension loses the same.
SHARE_STEPS = 1000

Keep = dict[WidthKey, int]
CostOf = Callable[[Mapping[WidthKey, int]], Cost]


@dataclass(frozen=True)
class Chunk:
    """Units that stay or go together; ``value`` ranks it."""

    key: WidthKey
    size: int
    value: float


@dataclass(frozen=True)
class Planned:
    """Units that stay per dimension, and what a reader should know about the choice."""

    keep: Keep
    warnings: tuple[str, ...]


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
) -> Planned:
    """Decide how many units of every dimension stay.

    Args:
        units: scored units of the model at its present widths.
        original: widths before any pruning; ``ratio`` is a share of these.
        ratio: share to remove of what ``budget`` names.
        budget: ``channels`` (the width of every kind of dimension), ``params`` or ``macs``.
        scope: ``local`` (the same share in every layer), ``isomorphic`` (one ranking per kind of
            dimension) or ``global`` (one ranking; under ``channels`` one per kind, since that
            budget fixes each kind's share).
        round_to: widths become multiples of it, where they were not smaller already.
        cost_of: counts the model at given widths.
        dense: cost before any pruning.

    Raises:
        PlanError: if the floors forbid the budget, naming the least that can be reached.
    """
    if budget == "channels":
        keep = _by_share(units, original, ratio, scope, round_to)
        return Planned(keep, _channel_warnings(keep, original, ratio, round_to))
    ranking = _ranking(units, budget, round_to, cost_of) if scope == "global" else []
    target = (1 - ratio) * getattr(dense, budget)

    def cost(keep: Keep) -> int:
        return int(getattr(cost_of(keep), budget))

    make, last = _shrinking(units, original, ranking, scope, round_to)
    keep = _nearest(make, last, cost, target, budget)
    reached = cost(keep)
    if abs(reached / target - 1) > TOLERANCE:
        share = reached / getattr(dense, budget)
        note = f"{budget}: {share:.1%} of dense is the nearest to {1 - ratio:.1%} that rounding"
        return Planned(keep, (f"{note} widths to {round_to} allows",))
    return Planned(keep, ())


def _chunks(unit: Units, round_to: int) -> list[Chunk]:
    """Cut the units above the floor into chunks; the first are the best."""
    step = 1 if unit.key[1] in UNROUNDED else round_to
    count = len(unit.scores)
    start = min(count, -(-unit.floor // step) * step)
    bounds = [*range(start, count, step), count]
    return [
        Chunk(unit.key, stop - begin, float(unit.scores[begin:stop].mean()))
        for begin, stop in pairwise(bounds)
        if stop > begin
    ]


def _by_share(
    units: Sequence[Units],
    original: Mapping[WidthKey, int],
    ratio: float,
    scope: str,
    round_to: int,
) -> Keep:
    """Keep the same share of every kind of dimension, or of every layer if ``scope`` is local."""
    pools: dict[object, list[Units]] = {}
    for unit in units:
        pools.setdefault(unit.key if scope == "local" else unit.key[1], []).append(unit)
    keep: Keep = {}
    for pool in pools.values():
        target = (1 - ratio) * sum(original[unit.key] for unit in pool)
        keep |= _fill(pool, target, round_to)
    return keep


def _fill(pool: Sequence[Units], target: float, round_to: int) -> Keep:
    """Keep floors, then the best chunks until adding one more is farther from ``target``."""
    ranked = sorted(
        (chunk for unit in pool for chunk in _chunks(unit, round_to)),
        key=lambda chunk: -chunk.value,
    )
    keep = {
        unit.key: len(unit.scores) - sum(chunk.size for chunk in _chunks(unit, round_to))
        for unit in pool
    }
    total = sum(keep.values())
    for chunk in ranked:
        if total + chunk.size / 2 > target:
            break
        keep[chunk.key] += chunk.size
        total += chunk.size
    return keep


def _ranking(units: Sequence[Units], budget: str, round_to: int, cost_of: CostOf) -> list[Chunk]:
    """Rank all chunks of the network, the first to go first.

    Scores of unlike dimensions are made comparable by the mean of their kind, and weighed by the
    cost that removing a unit frees.
    """
    present = {unit.key: len(unit.scores) for unit in units}
    full = getattr(cost_of(present), budget)
    means: dict[str, list[float]] = {}
    for unit in units:
        means.setdefault(unit.key[1], []).append(float(unit.scores.mean()))
    ranked = []
    for unit in units:
        chunks = _chunks(unit, round_to)
        if not chunks:
            continue
        fewer = {**present, unit.key: present[unit.key] - chunks[-1].size}
        freed = (full - getattr(cost_of(fewer), budget)) / chunks[-1].size
        kind = means[unit.key[1]]
        scale = max(sum(kind) / len(kind), 1e-30) * max(freed, 1.0)
        ranked += [Chunk(chunk.key, chunk.size, chunk.value / scale) for chunk in chunks]
    return sorted(ranked, key=lambda chunk: chunk.value)


def _shrinking(
    units: Sequence[Units],
    original: Mapping[WidthKey, int],
    ranking: Sequence[Chunk],
    scope: str,
    round_to: int,
) -> tuple[Callable[[int], Keep], int]:
    """Return a function that makes ever smaller models from 0 (the present one) to a last step
    (the floors), and that last step.
    """

    def drop(count: int) -> Keep:
        keep = {unit.key: len(unit.scores) for unit in units}
        for chunk in ranking[:count]:
            keep[chunk.key] -= chunk.size
        return keep

    def share(step: int) -> Keep:
        return _by_share(units, original, step / SHARE_STEPS, scope, round_to)

    return (drop, len(ranking)) if scope == "global" else (share, SHARE_STEPS)


def _nearest(
    make: Callable[[int], Keep],
    last: int,
    cost: Callable[[Keep], int],
    target: float,
    budget: str,
) -> Keep:
    """Find by bisection the step whose cost is nearest to ``target``.

    Raises:
        PlanError: if even the last step costs more.
    """
    least = cost(make(last))
    if least > target * (1 + TOLERANCE):
        raise PlanError(
            f"a budget of {target:,.0f} {budget} is below the least reachable, {least:,}",
            hint="allow more dimensions with --dims, or a smaller --round-to",
        )
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        if cost(make(middle)) > target:
            low = middle
        else:
            high = middle
    return min((make(low), make(high)), key=lambda keep: abs(cost(keep) - target))


def _channel_warnings(
    keep: Keep, original: Mapping[WidthKey, int], ratio: float, round_to: int
) -> tuple[str, ...]:
    """Name the kinds of dimension whose share differs from what was asked by over a point."""
    notes = []
    for dim in sorted({key[1] for key in keep}):
        keys = [key for key in keep if key[1] == dim]
        share = sum(keep[key] for key in keys) / sum(original[key] for key in keys)
        if abs(share - (1 - ratio)) > 0.01:
            notes.append(
                f"{dim}: {share:.1%} of the width stays, {1 - ratio:.1%} was asked"
                f" (floors, and widths in steps of {1 if dim in UNROUNDED else round_to})"
            )
    return tuple(notes)
