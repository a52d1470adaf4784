"""Showing a result: one JSON document, or a table for people."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.schema import Document


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send what libraries print to stderr, so that stdout holds the result alone."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def warn(warnings: Iterable[str]) -> None:
    """Write warnings to stderr, one line each."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def show(document: Document, as_json: bool, table: Callable[[Console], None]) -> None:
    """Write ``document`` as JSON to stdout, or draw ``table`` on a console."""
    if as_json:
        sys.stdout.write(document.to_json())
    else:
        from rich.console import Console

        table(Console())
