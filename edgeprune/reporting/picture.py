"""A drawing in four forms, for a page that is wide or narrow, light or dark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from edgeprune.reporting.canvas import DARK, LIGHT, NARROW, WIDE, Drawing, Shape, Theme

Draw = Callable[[Theme, Shape], Drawing]


@dataclass(frozen=True)
class Picture:
    """The four drawings as data URIs."""

    wide_light: str
    wide_dark: str
    narrow_light: str
    narrow_dark: str


def picture(draw: Draw) -> Picture:
    """Draw in every form."""
    return Picture(
        wide_light=_uri(draw(LIGHT, WIDE)),
        wide_dark=_uri(draw(DARK, WIDE)),
        narrow_light=_uri(draw(LIGHT, NARROW)),
        narrow_dark=_uri(draw(DARK, NARROW)),
    )


def _uri(drawing: Drawing) -> str:
    # Fit for srcset, where a space ends the address: everything but these is percent-encoded.
    return "data:image/svg+xml," + quote(drawing.svg(), safe="/:;=()!*~@$?,")
