"""Drawing a panel as SVG with matplotlib: light or dark, wide or narrow, the same bytes again."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from edgeprune.errors import UnavailableError
from edgeprune.reporting.panels import Panel, Point
from edgeprune.reporting.placement import Box, place

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HINT = "pip install 'edgeprune[report]'"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LABEL_CHARACTERS = 30
MARKER_RADIUS = 5.5
DPI = 72  # a pixel is a point then, as in SVG, so that labels stay where they were measured


@dataclass(frozen=True)
class Theme:
    """Colours of a plot; ``series`` keeps its order of contrast for readers who see few hues."""

    text: str
    muted: str
    grid: str
    background: str
    series: tuple[str, ...]


@dataclass(frozen=True)
class Shape:
    """Size in inches and type size in points."""

    width: float
    height: float
    font: float


LIGHT = Theme(
    text="#1b1f24",
    muted="#59636e",
    grid="#e3e7eb",
    background="#ffffff",
    series=("#0b5fa5", "#b5480b", "#197a4b", "#8a3a8f", "#7a5c00", "#a1264f", "#3f4a9c"),
)
DARK = Theme(
    text="#e8ecf1",
    muted="#a3adb8",
    grid="#2b323b",
    background="#161b22",
    series=("#6cb6ff", "#f7a072", "#6bd49a", "#d9a0e0", "#e3c567", "#f58fb0", "#a8b3ff"),
)
WIDE = Shape(width=9.6, height=5.0, font=11.0)
NARROW = Shape(width=4.1, height=4.6, font=11.0)


def draw(panel: Panel, theme: Theme, shape: Shape) -> str:
    """Return the panel as SVG text; the text in it is drawn as paths.

    Raises:
        UnavailableError: if matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib import style
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UnavailableError("an HTML report needs matplotlib", hint=HINT) from None

    settings = {
        "svg.hashsalt": "edgeprune",
        "svg.fonttype": "path",
        "font.family": ["DejaVu Sans"],
        "font.size": shape.font,
        "text.parse_math": False,
        "path.simplify": False,
    }
    with (
        matplotlib.rc_context(),
        style.context(["default", settings]),
        warnings.catch_warnings(),
    ):
        # A character that the font lacks is drawn as a box; that is no reason for a message.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(shape.width, shape.height), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _dress(axes, panel, theme)
        _points(axes, panel, theme)
        _limits(axes, panel)
        _legend(figure, axes, panel, theme)
        canvas.draw()
        figure.set_layout_engine("none")
        _labels(axes, panel, theme, canvas.get_renderer())
        stream = io.StringIO()
        figure.savefig(
            stream,
            format="svg",
            facecolor=theme.background,
            metadata={"Date": None, "Creator": None},
        )
    return _compact(stream.getvalue())


def _dress(axes: Axes, panel: Panel, theme: Theme) -> None:
    over = _shorten(panel.baseline)
    axes.set_facecolor(theme.background)
    axes.set_xlabel(f"{panel.how} speed-up over {over} (×)", color=theme.text)
    axes.set_ylabel(f"Accuracy on {_shorten(panel.target)}, unseen (%)", color=theme.text)
    axes.grid(visible=True, color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.muted, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.grid)


def _points(axes: Axes, panel: Panel, theme: Theme) -> None:
    front = panel.front()
    if len(front) > 1:
        xs, ys = [p.x for p in front], [p.y for p in front]
        axes.plot(xs, ys, color=theme.muted, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    for point in panel.points:
        color, marker = _look(panel, point, theme)
        estimated = bool(point.row.estimated or point.row.speedup_estimated)
        axes.errorbar(
            [point.x],
            [point.y],
            xerr=_reach(point.x, point.row.speedup_ci95),
            yerr=_reach(point.y, point.row.target_ci95),
            fmt=marker,
            color=color,
            markersize=8.5,
            markerfacecolor=theme.background if estimated else color,
            markeredgecolor=color if estimated else theme.background,
            markeredgewidth=1.6 if estimated else 1.0,
            elinewidth=1.3,
            capsize=3,
            zorder=3,
        )


def _look(panel: Panel, point: Point, theme: Theme) -> tuple[str, str]:
    index = panel.series.index(point.series)
    return theme.series[index % len(theme.series)], MARKERS[index % len(MARKERS)]


def _reach(value: float, ci95: tuple[float, float] | None) -> list[list[float]] | None:
    if ci95 is None:
        return None
    return [[max(0.0, value - ci95[0])], [max(0.0, ci95[1] - value)]]


def _limits(axes: Axes, panel: Panel) -> None:
    xs = [x for p in panel.points for x in (p.x, *(p.row.speedup_ci95 or ()))]
    ys = [y for p in panel.points for y in (p.y, *(p.row.target_ci95 or ()))]
    wide, high = max(max(xs) - min(xs), 0.2), max(max(ys) - min(ys), 2.0)
    axes.set_xlim(max(0.0, min(xs) - 0.14 * wide), max(xs) + 0.16 * wide)
    axes.set_ylim(min(ys) - 0.12 * high, max(ys) + 0.14 * high)


def _legend(figure: Any, axes: Axes, panel: Panel, theme: Theme) -> None:
    if len(panel.series) < 2 and len(panel.front()) < 2:
        return
    from matplotlib.lines import Line2D

    handles = []
    if len(panel.series) > 1:
        for index, name in enumerate(panel.series):
            color = theme.series[index % len(theme.series)]
            marker = MARKERS[index % len(MARKERS)]
            handles.append(
                Line2D([], [], color=color, marker=marker, linestyle="", label=_shorten(name))
            )
    if len(panel.front()) > 1:
        handles.append(
            Line2D([], [], color=theme.muted, linestyle=(0, (4, 3)), label="Pareto front")
        )
    narrow = figure.get_figwidth() < WIDE.width
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=1 if narrow else len(handles) if len(handles) <= 4 else 3,
        frameon=False,
        labelcolor=theme.text,
        fontsize="small",
        borderaxespad=0.2,
    )


def _labels(axes: Axes, panel: Panel, theme: Theme, renderer: Any) -> None:
    def spot(x: float, y: float) -> tuple[float, float]:
        a, b = axes.transData.transform((x, y))
        return float(a), float(b)

    texts = [_shorten(point.label) for point in panel.points]
    sizes = [_text_size(axes, text, renderer) for text in texts]
    spots = [spot(point.x, point.y) for point in panel.points]
    window = axes.get_window_extent(renderer)
    frame = Box(window.x0 + 2, window.y0 + 2, window.x1, window.y1)
    obstacles = [box for point in panel.points for box in _obstacles(point, spot)]
    obstacles += _along([spot(point.x, point.y) for point in panel.front()])
    colors = [
        _look(panel, point, theme)[0] if len(panel.series) > 1 else theme.text
        for point in panel.points
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
    if point.row.speedup_ci95:
        low, high = (spot(value, point.y)[0] for value in point.row.speedup_ci95)
        boxes.append(Box(low - 2, y - 3.5, high + 2, y + 3.5))
    if point.row.target_ci95:
        low, high = (spot(point.x, value)[1] for value in point.row.target_ci95)
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


def _shorten(text: str) -> str:
    if len(text) <= LABEL_CHARACTERS:
        return text
    return text[: LABEL_CHARACTERS - 1] + "…"


def _compact(svg: str) -> str:
    """Drop what a page does not need: prolog, metadata, names, needless digits and space."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"[ \t\r\n]+", " ", svg)
    svg = re.sub(r' d="[^"]*"', _compact_path, svg)
    svg = re.sub(r"translate\([^)]*\)", _two_digits, svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = svg.replace("DejaVuSans-", "g").replace("xlink:href", "href")
    svg = svg.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    svg = re.sub(r"<g */>", "", svg)
    return re.sub(r"> +<", "><", svg).replace("; ", ";").replace(": ", ":").strip()


def _compact_path(path: re.Match[str]) -> str:
    return " d=" + re.sub(r" ?([A-Za-z]) ?", r"\1", _two_digits(path).removeprefix(" d="))


def _two_digits(text: re.Match[str]) -> str:
    return re.sub(r"(\d\.\d\d)\d+", r"\1", text[0])
