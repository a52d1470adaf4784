"""Ever smaller models: the one-parameter families of widths that a budget is searched in.

Widths are handed out in chunks of ``round_to`` units, best first, so that rounding and the total
are met together: a chunk is worth the mean score of its units, chunks of one layer fall in value,
and the ranking decides which to drop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from edgeprune.families.base import WidthKey
from edgeprune.pruning.units import BLOCKS, Units

# Dimensions counted in units that no kernel rounds.
UNROUNDED = ("heads", BLOCKS)

# Resolution of the share when every kind of dimension loses the same.
SHARE_STEPS = 1000

# What lets a model become smaller than floors, limits and rounding allow.
MORE_ROOM = "allow more with --dims, a smaller --round-to or a larger --max-ratio"

# Units that stay, by layer and dimension; a block that is dropped has 0 and no other entries.
Keep = dict[WidthKey, int]


@dataclass(frozen=True)
class Chunk:
    """Units that stay or go together.

    Attributes:
        key: their layer and dimension.
        size: how many they are.
        width: units of the layer before they go.
        value: mean score of a unit.
        freed: what all of them free.
    """

    key: WidthKey
    size: int
    width: int
    value: float
    freed: float


class Shrinking(Protocol):
    """A sequence of models from step 0 to the smallest."""

    @property
    def last(self) -> int:
        """The step of the smallest model."""
        ...

    def make(self, step: int) -> Keep:
        """Return the widths at a step."""
        ...

    def finer(self, step: int) -> Shrinking | None:
        """Return a sequence that begins at ``step`` and then takes smaller chunks, or None."""
        ...


@dataclass(frozen=True)
class Ranked:
    """One ranking of chunks over the whole network, the first to go first."""

    start: Keep
    order: tuple[Chunk, ...]

    @property
    def last(self) -> int:
        """The step at which all chunks are gone."""
        return len(self.order)

    def make(self, step: int) -> Keep:
        """Return the widths without the first ``step`` chunks."""
        keep = dict(self.start)
        for chunk in self.order[:step]:
            if chunk.key in keep:
                keep[chunk.key] -= chunk.size
        return without_dropped(keep)

    def finer(self, step: int) -> Ranked | None:
        """Leave out the next chunk, and all layers whose chunks free as much."""
        if step == self.last:
            return None
        rest = self.order[step:]
        big = {chunk.key for chunk in rest if chunk.freed >= rest[0].freed}
        order = tuple(chunk for chunk in rest if chunk.key not in big)
        return Ranked(self.make(step), order) if order else None


@dataclass(frozen=True)
class Shared:
    """The same share of every kind of dimension, or of every layer if ``scope`` is local."""

    units: tuple[Units, ...]
    original: Mapping[WidthKey, int]
    scope: str
    round_to: int

    @property
    def last(self) -> int:
        """The step at which all that the floors allow is gone."""
        return SHARE_STEPS

    def make(self, step: int) -> Keep:
        """Return the widths when ``step`` thousandths are removed."""
        return by_share(self.units, self.original, step / SHARE_STEPS, self.scope, self.round_to)

    def finer(self, step: int) -> Ranked | None:
        """Go on from ``step`` chunk by chunk."""
        keep = self.make(step)
        order = [
            chunk
            for chunk in ranking(self.units, self.round_to)
            if chunk.width <= keep.get(chunk.key, 0)
        ]
        return Ranked(keep, tuple(order)) if order else None


def shrinking(
    units: Sequence[Units], original: Mapping[WidthKey, int], scope: str, round_to: int
) -> Shrinking:
    """Return the sequence of a scope, from the present widths to the floors."""
    if scope == "global":
        present = {unit.key: len(unit.scores) for unit in units}
        return Ranked(present, tuple(ranking(units, round_to)))
    return Shared(tuple(units), original, scope, round_to)


def by_share(
    units: Sequence[Units],
    original: Mapping[WidthKey, int],
    ratio: float,
    scope: str,
    round_to: int,
) -> Keep:
    """Keep the same share of every kind of dimension, or of every layer if ``scope`` is local.

    Where stages have widths of their own, each has kinds of its own: with the width of a stage
    its scores grow, and a narrow stage would lose everything to a wide one.

    Whole blocks go first; the widths of those that stay then lose their share.
    """
    blocks = [unit for unit in units if unit.key[1] == BLOCKS]
    total = sum(width for key, width in original.items() if key[1] == BLOCKS)
    keep = _fill(blocks, (1 - ratio) * total, round_to, weighed=scope == "global")
    gone = _dropped(keep)
    pools: dict[object, list[Units]] = {}
    for unit in units:
        if unit.key[1] != BLOCKS and not _inside(unit.key, gone):
            pools.setdefault(unit.key if scope == "local" else unit.kind, []).append(unit)
    for pool in pools.values():
        target = (1 - ratio) * sum(original[unit.key] for unit in pool)
        keep |= _fill(pool, target, round_to, weighed=scope == "global")
    return keep


def ranking(units: Sequence[Units], round_to: int) -> list[Chunk]:
    """Rank all chunks of the network by score per cost freed, the first to go first.

    Units of unlike kinds differ in size by orders of magnitude, and so do their scores; each
    kind's are divided by the kind's mean, so that an average head, neuron, channel and block
    are equally likely to go.
    """
    prices: dict[tuple[str, str], list[float]] = {}
    for unit in units:
        prices.setdefault(unit.kind, []).append(float(unit.scores.mean()) / unit.freed)
    scales = {kind: max(sum(each) / len(each), 1e-30) for kind, each in prices.items()}
    chunks = [
        (chunk.value / unit.freed / scales[unit.kind], chunk)
        for unit in units
        for chunk in _chunks(unit, round_to)
    ]
    # Chunks of a layer fall in value; of equals the outer one goes first.
    return [chunk for _, chunk in sorted(chunks, key=lambda pair: (pair[0], -pair[1].width))]


def without_dropped(keep: Keep) -> Keep:
    """Leave out the widths inside dropped blocks."""
    gone = _dropped(keep)
    return {key: width for key, width in keep.items() if not _inside(key, gone)}


def _dropped(keep: Keep) -> tuple[str, ...]:
    return tuple(f"{name}." for (name, dim), width in keep.items() if dim == BLOCKS and not width)


def _inside(key: WidthKey, gone: tuple[str, ...]) -> bool:
    return key[0].startswith(gone) if gone else False


def _chunks(unit: Units, round_to: int) -> list[Chunk]:
    """Cut the units above the floor into chunks; the first are the best."""
    step = 1 if unit.key[1] in UNROUNDED else round_to
    count = len(unit.scores)
    start = min(count, -(-unit.floor // step) * step)
    bounds = [*range(start, count, step), count]
    chunks: list[Chunk] = []
    for begin, stop in pairwise(bounds):
        if stop > begin:
            mean = float(unit.scores[begin:stop].mean())
            value = min(mean, chunks[-1].value) if chunks else mean  # rounding may not reorder
            chunks.append(Chunk(unit.key, stop - begin, stop, value, unit.freed * (stop - begin)))
    return chunks


def _fill(pool: Iterable[Units], target: float, round_to: int, *, weighed: bool) -> Keep:
    """Keep floors, then the best chunks until adding one more is farther from ``target``."""
    keep: Keep = {}
    ranked: list[tuple[float, Chunk]] = []
    for unit in pool:
        chunks = _chunks(unit, round_to)
        keep[unit.key] = len(unit.scores) - sum(chunk.size for chunk in chunks)
        ranked += [(chunk.value / (unit.freed if weighed else 1.0), chunk) for chunk in chunks]
    total = sum(keep.values())
    for _, chunk in sorted(ranked, key=lambda pair: -pair[0]):
        if total + chunk.size / 2 > target:
            break
        keep[chunk.key] += chunk.size
        total += chunk.size
    return keep
