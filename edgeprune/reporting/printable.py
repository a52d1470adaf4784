"""Making text from files safe to show."""

from __future__ import annotations

from typing import Any


def printable(value: Any) -> Any:
    """Replace control, bidirectional and unpaired surrogate characters in all text."""
    if isinstance(value, str):
        spaced = " ".join(value.split()) if not value.isprintable() else value
        return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in spaced)
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [printable(item) for item in value]
    return value
