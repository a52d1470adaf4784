"""TOML files that people write: one way of reading them, and of saying why that cannot be done."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from edgeprune.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml_text(path: Path, what: str) -> str:
    """Return the text of a file; ``what`` names it in messages. Raises UsageError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{what} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} is not valid TOML: {error}") from None


def parse_toml(text: str, what: str) -> dict[str, Any]:
    """Parse TOML, on Python 3.10 too; ``what`` names it in messages. Raises UsageError."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"{what} is not valid TOML: it is nested too deeply") from None
    # The parser's own error is one; a number of more digits than Python reads is a plain one.
    except ValueError as error:
        raise UsageError(f"{what} is not valid TOML: {error}") from None
