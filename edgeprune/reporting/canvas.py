"""SVG from matplotlib: light or dark, wide or narrow, the same bytes again."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeprune.errors import UnavailableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HINT = "pip install 'edgeprune[report]'"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DPI = 72  # a pixel is a point then, as in SVG, so that labels stay where they were measured

Paint = Callable[["Figure", "Axes"], None]
Finish = Callable[["Axes", Any], None]


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


def paint(theme: Theme, shape: Shape, paint: Paint, finish: Finish) -> str:
    """Return a figure as SVG text; the text in it is drawn as paths.

    Args:
        theme: its colours.
        shape: its size.
        paint: draws into the figure's axes before they are laid out.
        finish: adds what depends on the layout, with the renderer to measure text.

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
        paint(figure, axes)
        canvas.draw()
        figure.set_layout_engine("none")
        finish(axes, canvas.get_renderer())
        stream = io.StringIO()
        figure.savefig(
            stream,
            format="svg",
            facecolor=theme.background,
            metadata={"Date": None, "Creator": None},
        )
    return _compact(stream.getvalue())


def dress(axes: Axes, x_title: str, y_title: str, theme: Theme) -> None:
    """Give axes their titles, grid and colours."""
    axes.set_facecolor(theme.background)
    axes.set_xlabel(x_title, color=theme.text)
    axes.set_ylabel(y_title, color=theme.text)
    axes.grid(visible=True, color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.muted, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.grid)


def legend(figure: Figure, handles: list[Any], theme: Theme) -> None:
    """Put a legend above the axes: in a row where there is room, else below one another."""
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
