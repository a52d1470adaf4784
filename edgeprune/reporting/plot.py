"""Drawing a chart: points with error bars and labels, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from edgeprune.reporting.canvas import MARKERS, Drawing, Shape, Theme, dress, legend, paint
from edgeprune.reporting.chart import Chart, Point, shorten
from edgeprune.reporting.placement import Box, place

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKER_RADIUS = 5.5
MANY_TICKS_SPAN = 100.0


def draw(chart: Chart, theme: Theme, shape: Shape) -> Drawing:
    """Draw the chart.

    Raises:
        UnavailableError: if matplotlib is not installed.
    """

    def all_but_labels(figure: Any, axes: Axes) -> None:
        dress(axes, chart.x_title, chart.y_title, theme)
        _points(axes, chart, theme)
        _limits(axes, chart)
        _legend(figure, chart, theme)

    return paint(
        theme,
        shape,
        all_but_labels,
        lambda axes, renderer: _labels(axes, chart, theme, renderer),
        chart.marks(),
    )


def _points(axes: Axes, chart: Chart, theme: Theme) -> None:
    front = chart.front()
    if len(front) > 1:
        xs, ys = [p.x for p in front], [p.y for p in front]
        axes.plot(xs, ys, color=theme.muted, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    for point in chart.points:
        color, marker = _look(chart, point, theme)
        axes.errorbar(
            [point.x],
            [point.y],
            xerr=_reach(point.x, point.x_range),
            yerr=_reach(point.y, point.y_range),
            fmt=marker,
            color=color,
            markersize=8.5,
            markerfacecolor=theme.background if point.hollow else color,
            markeredgecolor=color if point.hollow else theme.background,
            markeredgewidth=1.6 if point.hollow else 1.0,
            elinewidth=1.3,
            capsize=3,
            zorder=3,
        )


def _look(chart: Chart, point: Point, theme: Theme) -> tuple[str, str]:
    index = chart.series.index(point.series)
    return theme.series[index % len(theme.series)], MARKERS[index % len(MARKERS)]


def _reach(value: float, ci95: tuple[float, float] | None) -> list[list[float]] | None:
    if ci95 is None:
        return None
    return [[max(0.0, value - ci95[0])], [max(0.0, ci95[1] - value)]]


def _limits(axes: Axes, chart: Chart) -> None:
    xs = [x for p in chart.points for x in (p.x, *(p.x_range or ()))]
    ys = [y for p in chart.points for y in (p.y, *(p.y_range or ()))]
    wide, high = max(max(xs) - min(xs), 0.2), max(max(ys) - min(ys), 2.0)
    if chart.is_wide:
        _logarithmic(axes, min(xs), max(xs))
    else:
        axes.set_xlim(max(0.0, min(xs) - 0.14 * wide), max(xs) + 0.16 * wide)
    axes.set_ylim(min(ys) - 0.12 * high, max(ys) + 0.14 * high)


def _logarithmic(axes: Axes, low: float, high: float) -> None:
    margin = (high / low) ** 0.15
    axes.set_xscale("log")
    axes.set_xlim(low / margin, high * margin)
    multiples = (1, 2, 5) if high / low < MANY_TICKS_SPAN else (1, 3)
    ticks = [multiple * 10.0**power for power in range(-3, 7) for multiple in multiples]
    shown = [tick for tick in ticks if low / margin <= tick <= high * margin]
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axes.minorticks_off()


def _legend(figure: Any, chart: Chart, theme: Theme) -> None:
    if len(chart.series) < 2 and len(chart.front()) < 2:
        return
    from matplotlib.lines import Line2D

    handles = []
    if len(chart.series) > 1:
        for index, name in enumerate(chart.series):
            color = theme.series[index % len(theme.series)]
            marker = MARKERS[index % len(MARKERS)]
            handles.append(
                Line2D([], [], color=color, marker=marker, linestyle="", label=shorten(name))
            )
    if len(chart.front()) > 1:
        handles.append(
            Line2D([], [], color=theme.muted, linestyle=(0, (4, 3)), label="Pareto front")
        )
    legend(figure, handles, theme)


def _labels(axes: Axes, chart: Chart, theme: Theme, renderer: Any) -> None:
    def spot(x: float, y: float) -> tuple[float, float]:
        a, b = axes.transData.transform((x, y))
        return float(a), float(b)

    labelled = [point for point in chart.points if point.labelled]
    texts = [shorten(point.label) for point in labelled]
    sizes = [_text_size(axes, text, renderer) for text in texts]
    spots = [spot(point.x, point.y) for point in labelled]
    window = axes.get_window_extent(renderer)
    frame = Box(window.x0 + 2, window.y0 + 2, window.x1, window.y1)
    obstacles = [box for point in chart.points for box in _obstacles(point, spot)]
    obstacles += _along([spot(point.x, point.y) for point in chart.front()])
    colors = [
        _look(chart, point, theme)[0] if len(chart.series) > 1 else theme.text for point in labelled
    ]
    places = place(spots, sizes, obstacles, frame)
    for text, at, placed, color in zip(texts, spots, places, colors, strict=True):
        if placed.leader is not None:
            line = {"arrowstyle": "-", "color": color, "linewidth": 0.8}
            axes.annotate(
                "",
                xy=at,
                xytext=placed.leader,
                xycoords="figure pixels",
                textcoords="figure pixels",
                arrowprops={**line, "shrinkA": 0, "shrinkB": MARKER_RADIUS},
            )
        axes.annotate(
            text,
            xy=(placed.box.x0, (placed.box.y0 + placed.box.y1) / 2),
            xycoords="figure pixels",
            color=color,
            va="center",
            zorder=4,
        )


def _text_size(axes: Axes, text: str, renderer: Any) -> tuple[float, float]:
    trial = axes.text(0, 0, text)
    extent = trial.get_window_extent(renderer)
    trial.remove()
    return float(extent.width) + 2, float(extent.height) + 2


def _obstacles(point: Point, spot: Any) -> list[Box]:
    x, y = spot(point.x, point.y)
    boxes = [Box(x - MARKER_RADIUS, y - MARKER_RADIUS, x + MARKER_RADIUS, y + MARKER_RADIUS)]
    if point.x_range:
        low, high = (spot(value, point.y)[0] for value in point.x_range)
        boxes.append(Box(low - 2, y - 3.5, high + 2, y + 3.5))
    if point.y_range:
        low, high = (spot(point.x, value)[1] for value in point.y_range)
        boxes.append(Box(x - 3.5, low - 2, x + 3.5, high + 2))
    return boxes


def _along(spots: Sequence[tuple[float, float]]) -> list[Box]:
    """Cover a line with small boxes, so that labels keep off it."""
    boxes = []
    for (x0, y0), (x1, y1) in pairwise(spots):
        steps = max(2, int(max(abs(x1 - x0), abs(y1 - y0)) / 4))
        for step in range(steps + 1):
            x, y = x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps
            boxes.append(Box(x - 1, y - 1, x + 1, y + 1))
    return boxes
