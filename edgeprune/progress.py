"""Progress as a value that is passed in, so that the library itself never prints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from edgeprune.one_line import one_line

T = TypeVar("T")
# A function gives a description that changes while the loop runs, such as the current loss.
Description = str | Callable[[], str]


class Progress(Protocol):
    """Something that can show how far a loop has come."""

    def track(
        self, items: Iterable[T], description: Description, total: int, start: int = 0
    ) -> Iterator[T]:
        """Yield ``items`` and show ``description`` with a share of ``total``, from ``start``."""
        ...

    def say(self, message: str) -> None:
        """Show one line."""
        ...


class SilentProgress:
    """Shows nothing: what library functions use unless told otherwise."""

    def track(
        self, items: Iterable[T], description: Description, total: int, start: int = 0
    ) -> Iterator[T]:
        """Yield ``items`` unchanged."""
        yield from items

    def say(self, message: str) -> None:
        """Show nothing."""


class TerminalProgress:
    """Bars with the time left on a terminal's stderr; plain lines where stderr is no terminal.

    ``live=False`` redraws when a step ends and not in between: no thread runs beside the work.
    """

    def __init__(self, *, live: bool = True) -> None:
        self._live = live

    def track(
        self, items: Iterable[T], description: Description, total: int, start: int = 0
    ) -> Iterator[T]:
        """Yield ``items`` under a bar; the bar disappears when the loop ends."""
        if not sys.stderr.isatty():
            yield from items
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        with RichProgress(
            *columns, console=console, transient=True, auto_refresh=self._live
        ) as bar:
            task = bar.add_task(_text(description), total=total, completed=start)
            for item in items:
                yield item
                bar.update(task, advance=1, description=_text(description))
                if not self._live:
                    bar.refresh()

    def say(self, message: str) -> None:
        """Write one line to stderr."""
        print(one_line(message), file=sys.stderr, flush=True)


def _text(description: Description) -> str:
    return one_line(description if isinstance(description, str) else description())


SILENT = SilentProgress()
