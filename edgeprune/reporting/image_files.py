"""Plots as files of their own, for papers and slides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeprune.errors import ResultError
from edgeprune.files import output_file
from edgeprune.reporting.canvas import LIGHT, WIDE, Drawing
from edgeprune.reporting.picture import Draw

FORMS = (".svg", ".png")


def write_images(output: Path, drawings: Sequence[Draw]) -> list[Path]:
    """Write drawings as ``NAME.png``, ``NAME-2.png`` and so on; the extension says SVG or PNG.

    Raises:
        ResultError: if there is nothing to draw.
        OutputError: if a file cannot be written.
        UnavailableError: if matplotlib is not installed.
    """
    if not drawings:
        raise ResultError("there is nothing to draw: no model has both a speed-up and an accuracy")
    paths = [
        output if number == 1 else output.with_stem(f"{output.stem}-{number}")
        for number in range(1, len(drawings) + 1)
    ]
    made = [_bytes(draw(LIGHT, WIDE), output.suffix.lower()) for draw in drawings]
    for path, content in zip(paths, made, strict=True):
        with output_file(path) as scratch:
            scratch.write_bytes(content)
    return paths


def _bytes(drawing: Drawing, form: str) -> bytes:
    return drawing.png() if form == ".png" else f"{drawing.svg()}\n".encode()
