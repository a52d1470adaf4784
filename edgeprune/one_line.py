"""Text from files and users in one line that a terminal shows and does not obey."""

from __future__ import annotations


def one_line(text: str) -> str:
    """Return text without line breaks, control and other characters that cannot be seen."""
    if text.isprintable():
        return text
    spaced = " ".join(text.split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in spaced)
