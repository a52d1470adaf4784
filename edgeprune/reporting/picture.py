"""A drawing in four forms, for a page that is wide or narrow, light or dark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from edgeprune.reporting.canvas import (
    DARK,
    LIGHT,
    NARROW,
    WIDE,
    Drawing,
    Mark,
    Shape,
    Spot,
    Theme,
)

Draw = Callable[[Theme, Shape], Drawing]


@dataclass(frozen=True)
class PlacedMark:
    """A point, and where it stands in the wide and in the narrow drawings."""

    mark: Mark
    wide: Spot
    narrow: Spot


@dataclass(frozen=True)
class Picture:
    """The four drawings as data URIs, and the points in them."""

    wide_light: str
    wide_dark: str
    narrow_light: str
    narrow_dark: str
    marks: list[PlacedMark]


def picture(draw: Draw) -> Picture:
    """Draw in every form."""
    wide, narrow = draw(LIGHT, WIDE), draw(LIGHT, NARROW)
    return Picture(
        wide_light=_uri(wide),
        wide_dark=_uri(draw(DARK, WIDE)),
        narrow_light=_uri(narrow),
        narrow_dark=_uri(draw(DARK, NARROW)),
        marks=[
            PlacedMark(mark, spot, narrow_spot)
            for (mark, spot), (_, narrow_spot) in zip(wide.marks, narrow.marks, strict=True)
        ],
    )


def _uri(drawing: Drawing) -> str:
    # Fit for srcset, where a space ends the address: everything but these is percent-encoded.
    return "data:image/svg+xml," + quote(drawing.svg(), safe="/:;=()!*~@$?,")
