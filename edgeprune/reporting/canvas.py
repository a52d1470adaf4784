"""Drawings from matplotlib: light or dark, wide or narrow, the same bytes again."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeprune.errors import UnavailableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HINT = "pip install 'edgeprune[report]'"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
PRINT_DPI = 300
DPI = 72  # a pixel is a point then, as in SVG, so that labels stay where they were measured

Paint = Callable[["Figure", "Axes"], None]
Finish = Callable[["Axes", Any], None]
Spot = tuple[float, float]


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


@dataclass(frozen=True)
class Mark:
    """A point that a page tells about: where it is on the axes, of which model, its figures."""

    x: float
    y: float
    model: str
    figures: tuple[str, ...]


class Drawing:
    """A finished figure, to be written as SVG or PNG.

    ``marks`` are its points, each with its place in percent of width and height from the top left.
    """

    def __init__(
        self, figure: Figure, theme: Theme, shape: Shape, marks: Sequence[tuple[Mark, Spot]]
    ) -> None:
        self.marks = marks
        self._figure = figure
        self._theme = theme
        self._shape = shape

    def svg(self) -> str:
        """Return SVG text without date or names; the text in it is drawn as paths."""
        return _compact(self._saved("svg", DPI, {"Date": None, "Creator": None}).decode())

    def png(self) -> bytes:
        """Return a PNG file, fine enough for print."""
        return self._saved("png", PRINT_DPI, {"Software": None})

    def _saved(self, form: str, dpi: int, metadata: dict[str, None]) -> bytes:
        stream = io.BytesIO()
        background = self._theme.background
        with _styled(self._shape):
            self._figure.savefig(
                stream, format=form, dpi=dpi, facecolor=background, metadata=metadata
            )
        return stream.getvalue()


def paint(
    theme: Theme, shape: Shape, paint: Paint, finish: Finish, marks: Sequence[Mark]
) -> Drawing:
    """Return a figure.

    Args:
        theme: its colours.
        shape: its size.
        paint: draws into the figure's axes before they are laid out.
        finish: adds what depends on the layout, with the renderer to measure text.
        marks: points that the drawing can tell the place of; they are not drawn here.

    Raises:
        UnavailableError: if matplotlib is not installed.
    """
    with _styled(shape):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(shape.width, shape.height), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        paint(figure, axes)
        canvas.draw()
        figure.set_layout_engine("none")
        finish(axes, canvas.get_renderer())
        spots = [_spot(figure, axes, mark) for mark in marks]
    return Drawing(figure, theme, shape, list(zip(marks, spots, strict=True)))


def _spot(figure: Figure, axes: Axes, mark: Mark) -> Spot:
    right, up = figure.transFigure.inverted().transform(axes.transData.transform((mark.x, mark.y)))
    return 100 * float(right), 100 * (1 - float(up))


@contextmanager
def _styled(shape: Shape) -> Iterator[None]:
    """Keep to our own settings of matplotlib, whatever the user's are."""
    try:
        import matplotlib
        from matplotlib import style
    except ImportError:
        raise UnavailableError("a plot needs matplotlib", hint=HINT) from None

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
        yield


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
