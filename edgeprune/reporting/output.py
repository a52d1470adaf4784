"""Where a report is written, and in which form: the extension decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edgeprune.errors import UsageError
from edgeprune.files import check_apart, check_output_file, write_text
from edgeprune.reporting import image_files
from edgeprune.reporting.picture import Draw

T = TypeVar("T")


def check_output(
    output: Path,
    writers: Mapping[str, Any],
    hint: str | None = None,
    inputs: Iterable[Path] = (),
) -> None:
    """Check extension and place of a report before any work.

    Raises:
        UsageError: if the extension is none of ``writers``, nor that of a picture.
        OutputError: if ``output`` is a directory or one of ``inputs``, or cannot be written.
    """
    check_output_file(output)
    accepted = (*writers, *image_files.FORMS)
    if output.suffix.lower() not in accepted:
        raise UsageError(
            f"output {str(output)!r} has extension {output.suffix!r};"
            f" accepted: {', '.join(accepted)}",
            hint=hint,
        )
    check_apart([output], inputs)


def write_report(
    output: Path,
    data: T,
    writers: Mapping[str, Callable[[T], str]],
    drawings: Callable[[T], Sequence[Draw]],
) -> None:
    """Write a report as its extension says, which :func:`check_output` has accepted.

    Args:
        output: where to; a picture's further drawings get files of their own.
        data: what the report says.
        writers: what makes the text of each extension.
        drawings: what makes the drawings of a picture.

    Raises:
        ResultError: if there is nothing to draw.
        OutputError: if a file cannot be written.
        UnavailableError: if Jinja2 or matplotlib is missing for a page or a plot.
    """
    suffix = output.suffix.lower()
    if suffix in image_files.FORMS:
        image_files.write_images(output, drawings(data))
    else:
        write_text(output, writers[suffix](data))
