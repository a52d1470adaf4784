"""Latency over commits as a drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeprune.reporting.canvas import MARKERS, Drawing, Mark, Shape, Theme, dress, legend, paint
from edgeprune.reporting.chart import shorten
from edgeprune.reporting.history.series import TIME, Panel, Series
from edgeprune.reporting.wording import milliseconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_TICKS = 12


def draw(panel: Panel, theme: Theme, shape: Shape) -> Drawing:
    """Draw the plot; a ring marks a check that failed.

    Raises:
        UnavailableError: if matplotlib is not installed.
    """
    machines = panel.machines

    def lines(figure: Any, axes: Axes) -> None:
        dress(axes, "Commit", f"{panel.metric} ({TIME})", theme)
        handles = [
            _line(axes, series, theme, index, _name(series, machines))
            for index, series in enumerate(panel.series)
        ]
        most = MAX_TICKS if shape.width > shape.height * 1.5 else MAX_TICKS // 3
        step = -(-len(panel.ticks) // most)
        shown = range(0, len(panel.ticks), step)
        axes.set_xticks(list(shown), [panel.ticks[index] for index in shown])
        axes.set_ylim(bottom=0)
        legend(figure, handles, theme)

    return paint(theme, shape, lines, lambda axes, renderer: None, _marks(panel))


def _marks(panel: Panel) -> list[Mark]:
    return [
        Mark(
            x=point.index,
            y=point.value,
            model=series.model,
            figures=(
                f"{milliseconds(point.value)} {TIME} at {point.commit}, {point.verdict}",
                f"{point.time}, {series.machine}",
            ),
        )
        for series in panel.series
        for point in series.points
    ]


def _name(series: Series, machines: list[str]) -> str:
    """Name a series; machines have long names, which the page spells out."""
    if len(machines) == 1:
        return series.model
    return f"{series.model}, machine {machines.index(series.machine) + 1}"


def _line(axes: Axes, series: Series, theme: Theme, index: int, name: str) -> Any:
    color = theme.series[index % len(theme.series)]
    places = [point.index for point in series.points]
    values = [point.value for point in series.points]
    (line,) = axes.plot(
        places,
        values,
        color=color,
        marker=MARKERS[index % len(MARKERS)],
        markersize=5,
        linewidth=1.6,
        label=shorten(name),
    )
    failed = [point for point in series.points if point.verdict == "failed"]
    axes.plot(
        [point.index for point in failed],
        [point.value for point in failed],
        linestyle="none",
        marker="o",
        markersize=13,
        markerfacecolor="none",
        markeredgecolor=theme.text,
        markeredgewidth=1.4,
    )
    return line
