"""Points in a plot of speed against accuracy, and which of them no other beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.reporting.canvas import Mark
from edgeprune.reporting.document import Interval

MIN_FRONT_POINTS = 3
LABEL_CHARACTERS = 30
WIDE_SPAN = 20.0


@dataclass(frozen=True)
class Point:
    """One model: where it stands, how far its error bars reach, what it is called.

    Attributes:
        x: what pruning bought; more is better.
        y: accuracy, percent.
        x_range: ends of the horizontal error bar, or None.
        y_range: ends of the vertical error bar, or None.
        label: text in the plot.
        series: what shares a colour and a marker.
        name: what it is called outside the plot.
        hollow: drawn hollow, since it is estimated.
        labelled: whether the label is drawn.
    """

    x: float
    y: float
    label: str
    series: str
    name: str
    x_range: Interval | None = None
    y_range: Interval | None = None
    hollow: bool = False
    labelled: bool = True


@dataclass(frozen=True)
class Chart:
    """Points that may be compared, and what the axes mean."""

    x_title: str
    y_title: str
    points: tuple[Point, ...]

    @property
    def is_wide(self) -> bool:
        """Tell whether x spans so much that only a logarithmic axis shows all of it."""
        xs = [point.x for point in self.points]
        return min(xs) > 0 and max(xs) / min(xs) > WIDE_SPAN

    @property
    def series(self) -> list[str]:
        """The series in the plot, in order."""
        return list(dict.fromkeys(point.series for point in self.points))

    def front(self) -> list[Point]:
        """Return the points that no other beats in both, by x; few points have none."""
        if len(self.points) < MIN_FRONT_POINTS:
            return []
        ordered = sorted(self.points, key=lambda point: (-point.x, -point.y))
        found: list[Point] = []
        for point in ordered:
            if not found or point.y > found[-1].y:
                found.append(point)
        return found[::-1]

    def marks(self) -> list[Mark]:
        """Return the points with their figures, each named as its axis is."""
        x_name, y_name = self.x_title.removesuffix(" (×)"), self.y_title.removesuffix(" (%)")
        return [
            Mark(
                x=point.x,
                y=point.y,
                model=point.name,
                figures=(f"{x_name}: {_speed(point)}", f"{y_name}: {_accuracy(point)}"),
            )
            for point in self.points
        ]


def in_words(points: Sequence[Point]) -> str:
    """Say where the points stand: the alternative text of a plot."""
    return " ".join(_in_words(point) for point in points)


def _in_words(point: Point) -> str:
    model = f"{point.series}, " if point.series != point.label else ""
    return f"{model}{point.label}: {_speed(point)}, {_accuracy(point)}."


def _speed(point: Point) -> str:
    ends = point.x_range
    return f"{point.x:.2f}x" + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else "")


def _accuracy(point: Point) -> str:
    ends = point.y_range
    return f"{point.y:.1f} %" + (f" ({ends[0]:.1f} to {ends[1]:.1f})" if ends else "")


def shorten(text: str) -> str:
    """Cut a text that would not fit into a plot."""
    return text if len(text) <= LABEL_CHARACTERS else text[: LABEL_CHARACTERS - 1] + "…"
