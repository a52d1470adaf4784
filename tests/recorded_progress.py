"""A progress that keeps the lines it is told, for tests of what is said."""

from __future__ import annotations

from edgeprune.progress import SilentProgress


class Recorded(SilentProgress):
    """Keeps every line in ``lines``."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        """Keep one line."""
        self.lines.append(message)
