"""Placing labels beside points so that they cover neither points nor one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import cos, hypot, pi, sin

ANGLES = (0.25, 0.75, 1.75, 1.25, 0.0, 1.0, 0.5, 1.5)  # times pi; the best places first
GAPS = (9.0, 15.0, 24.0, 36.0, 54.0, 78.0)
LEADER_BEYOND = 16.0
LEADER_FREE = 8.0


@dataclass(frozen=True)
class Box:
    """A rectangle in points (1/72 inch)."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlap(self, other: Box) -> float:
        """Return the area that two boxes share."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return width * height if width > 0 and height > 0 else 0.0

    def distance(self, spot: tuple[float, float]) -> float:
        """Return how far a spot is from the box; 0 inside."""
        x, y = spot
        return hypot(max(self.x0 - x, 0.0, x - self.x1), max(self.y0 - y, 0.0, y - self.y1))

    def holds(self, spot: tuple[float, float]) -> bool:
        """Tell whether a spot lies inside."""
        return self.x0 <= spot[0] <= self.x1 and self.y0 <= spot[1] <= self.y1

    def outside(self, frame: Box) -> float:
        """Return how far the box sticks out of ``frame``."""
        return (
            max(0.0, frame.x0 - self.x0)
            + max(0.0, self.x1 - frame.x1)
            + max(0.0, frame.y0 - self.y0)
            + max(0.0, self.y1 - frame.y1)
        )


@dataclass(frozen=True)
class Placed:
    """A label's box, and the end of its leader line if it stands away from its point."""

    box: Box
    leader: tuple[float, float] | None


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    frame: Box,
) -> list[Placed]:
    """Place one label of ``sizes`` for each of ``points`` inside ``frame``.

    Each label takes, of places around its point at growing distance, the one that covers least:
    the ``obstacles`` (markers, error bars) and the labels placed before it. Several orders are
    tried (the most crowded first, from above, from below), and the cheapest result is kept.
    """
    indices = range(len(points))
    orders = (
        sorted(indices, key=lambda i: -_crowd(points, i)),
        sorted(indices, key=lambda i: -points[i][1]),
        sorted(indices, key=lambda i: points[i][1]),
    )
    tried = [_place_in(order, points, sizes, obstacles, frame) for order in orders]
    placed = min(tried, key=lambda result: result[1])[0]
    return [placed[index] for index in indices]


def _place_in(
    order: Sequence[int],
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    frame: Box,
) -> tuple[dict[int, Placed], float]:
    taken = list(obstacles)
    placed: dict[int, Placed] = {}
    total = 0.0
    for index in order:
        cost = partial(_cost, index, points, taken, frame)
        best = min(_candidates(points[index], sizes[index]), key=cost)
        total += cost(best)
        placed[index] = Placed(best[0], best[2] if best[1] > LEADER_BEYOND else None)
        taken.append(best[0])
    return placed, total


def _crowd(points: Sequence[tuple[float, float]], index: int) -> float:
    x, y = points[index]
    return sum(1 / (10 + hypot(x - a, y - b)) for i, (a, b) in enumerate(points) if i != index)


def _candidates(
    point: tuple[float, float], size: tuple[float, float]
) -> list[tuple[Box, float, tuple[float, float], int]]:
    found = []
    for gap in GAPS:
        for rank, angle in enumerate(ANGLES):
            right, up = cos(angle * pi), sin(angle * pi)
            # The label's centre, so that its nearest edge is ``gap`` away from the point.
            x = point[0] + right * gap + _sign(right) * size[0] / 2
            y = point[1] + up * gap + _sign(up) * size[1] / 2
            box = Box(x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2)
            end = (
                min(max(point[0], box.x0), box.x1),
                min(max(point[1], box.y0), box.y1),
            )
            found.append((box, gap, end, rank))
    return found


def _sign(value: float) -> float:
    return 0.0 if abs(value) < 1e-9 else (1.0 if value > 0 else -1.0)


def _cost(
    index: int,
    points: Sequence[tuple[float, float]],
    taken: Sequence[Box],
    frame: Box,
    candidate: tuple[Box, float, tuple[float, float], int],
) -> float:
    box, gap, end, rank = candidate
    covered = sum(box.overlap(other) for other in taken)
    led = gap > LEADER_BEYOND
    crossed = _crossed(points[index], end, taken) if led else 0
    # Without a leader, a label nearer to another point would be read as that point's.
    nearest = min(box.distance(point) for point in points)
    astray = 0.0 if led else box.distance(points[index]) - nearest
    return 100 * covered + 1000 * box.outside(frame) + 12 * crossed + 2 * astray + gap + 0.2 * rank


def _crossed(point: tuple[float, float], end: tuple[float, float], taken: Sequence[Box]) -> int:
    """Count the boxes that a leader line runs through, beyond the point's own marker."""
    length = hypot(end[0] - point[0], end[1] - point[1])
    steps = [step / 8 for step in range(1, 9) if step / 8 * length > LEADER_FREE]
    spots = [
        (point[0] + (end[0] - point[0]) * step, point[1] + (end[1] - point[1]) * step)
        for step in steps
    ]
    return sum(any(box.holds(spot) for spot in spots) for box in taken)
