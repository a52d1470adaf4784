"""Text and tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table of cells that are escaped already."""
    lines = [f"| {' | '.join(header)} |", f"| {' | '.join('---' for _ in header)} |"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def escape(text: str) -> str:
    """Make any text Markdown text that shows as it stands, also in a table."""
    return re.sub(r"([\\`*\[\]<>|&~])", r"\\\1", text)
