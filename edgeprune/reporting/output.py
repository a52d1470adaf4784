"""Checking where a report is to be written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgeprune.errors import OutputError, UsageError
from edgeprune.files import check_parent_writable


def check_output(output: Path, accepted: Iterable[str], hint: str | None = None) -> None:
    """Check extension and place of a report before any work.

    Raises:
        UsageError: if the extension is none of ``accepted``.
        OutputError: if ``output`` is a directory or cannot be written.
    """
    if output.is_dir():
        raise OutputError(f"output {str(output)!r} is a directory; a file was expected")
    if output.suffix.lower() not in accepted:
        raise UsageError(
            f"output {str(output)!r} has extension {output.suffix!r};"
            f" accepted: {', '.join(accepted)}",
            hint=hint,
        )
    check_parent_writable(output)
