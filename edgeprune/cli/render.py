"""Showing a result: one JSON document, or a table for people."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from edgeprune.one_line import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from edgeprune.schema import Document


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send what libraries print to stderr, so that stdout holds the result alone."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def warn(warnings: Iterable[str]) -> None:
    """Write warnings to stderr, one line each."""
    for warning in warnings:
        print(f"warning: {one_line(warning)}", file=sys.stderr)


def plain(text: str, style: str = "") -> Text:
    """Return text of files or users to be shown as it is: brackets in it are no markup."""
    from rich.text import Text

    return Text(one_line(text), style)


def show(document: Document, as_json: bool, table: Callable[[Console], None]) -> None:
    """Write ``document`` as JSON to stdout, or draw ``table`` on a console."""
    if as_json:
        sys.stdout.write(document.to_json())
    else:
        from rich.console import Console

        table(Console())
