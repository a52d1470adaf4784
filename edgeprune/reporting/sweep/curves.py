"""Source validation against steps of fine-tuning: what more training would buy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeprune.reporting.canvas import MARKERS, Drawing, Mark, Shape, Theme, dress, legend, paint
from edgeprune.reporting.chart import shorten
from edgeprune.reporting.sweep.document import CurvePoint, SweepReport
from edgeprune.reporting.sweep.headline import row_name, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_STYLES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
MIN_POINTS = 2


@dataclass(frozen=True)
class Curve:
    """One row of the tables: its name within its model, its full one, and its points.

    Rows of one ratio share a colour and differ in their line: ``color`` and ``style`` count them.
    """

    name: str
    row: str
    color: int
    style: int
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class Curves:
    """The rows of one model."""

    model: str
    curves: tuple[Curve, ...]

    def text(self) -> str:
        """Say in words what the plot shows: its alternative text."""
        ends = [
            f"{curve.name}: {curve.points[0].accuracy:.1f} % at step {curve.points[0].step},"
            f" {curve.points[-1].accuracy:.1f} % at step {curve.points[-1].step}."
            for curve in self.curves
        ]
        return " ".join([f"Source validation of {self.model} during fine-tuning.", *ends])


def all_curves(data: SweepReport) -> list[Curves]:
    """Return a plot per model of the rows that have at least two evaluations."""
    found = []
    for model in dict.fromkeys(row.model for row in data.rows):
        rows = [row for row in data.rows if row.model == model and len(row.curve) >= MIN_POINTS]
        ways = [(row.budget, row.ratio) for row in rows]
        colors = list(dict.fromkeys(ways))
        curves = tuple(
            Curve(
                name=short_name(row),
                row=row_name(row),
                color=colors.index(way),
                style=ways[:index].count(way),
                points=tuple(row.curve),
            )
            for index, (row, way) in enumerate(zip(rows, ways, strict=True))
        )
        if curves:
            found.append(Curves(model, curves))
    return found


def draw_curves(curves: Curves, theme: Theme, shape: Shape) -> Drawing:
    """Draw the plot; the band around a line is one standard error.

    Raises:
        UnavailableError: if matplotlib is not installed.
    """

    def lines(figure: Any, axes: Axes) -> None:
        dress(axes, "Step of fine-tuning", "Source validation (%)", theme)
        handles = [_line(axes, curve, theme) for curve in curves.curves]
        axes.set_xlim(left=0)
        legend(figure, handles, theme)

    return paint(theme, shape, lines, lambda axes, renderer: None, _marks(curves))


def _marks(curves: Curves) -> list[Mark]:
    return [
        Mark(
            x=point.step,
            y=point.accuracy,
            model=curve.row,
            figures=(f"Source validation at step {point.step}: {_accuracy(point)}",),
        )
        for curve in curves.curves
        for point in curve.points
    ]


def _accuracy(point: CurvePoint) -> str:
    error = f" ± {point.se:.1f}" if point.se is not None else ""
    return f"{point.accuracy:.1f}{error} %"


def _line(axes: Axes, curve: Curve, theme: Theme) -> Any:
    color = theme.series[curve.color % len(theme.series)]
    steps = [point.step for point in curve.points]
    values = [point.accuracy for point in curve.points]
    (line,) = axes.plot(
        steps,
        values,
        color=color,
        marker=MARKERS[curve.color % len(MARKERS)],
        linestyle=LINE_STYLES[curve.style % len(LINE_STYLES)],
        markersize=5,
        linewidth=1.6,
        label=shorten(curve.name),
    )
    low, high = _band(curve.points)
    axes.fill_between(steps, low, high, color=color, alpha=0.1, linewidth=0)
    return line


def _band(points: Sequence[CurvePoint]) -> tuple[list[float], list[float]]:
    reach = [point.se or 0.0 for point in points]
    values = [point.accuracy for point in points]
    return (
        [value - r for value, r in zip(values, reach, strict=True)],
        [value + r for value, r in zip(values, reach, strict=True)],
    )
