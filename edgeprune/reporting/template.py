"""Filling in the pages' templates."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from edgeprune.errors import UnavailableError
from edgeprune.reporting import wording
from edgeprune.reporting.canvas import HINT

SCRIPT = "page.js"


def render(name: str, **context: Any) -> str:
    """Return a template as text; everything that is put in is escaped but the page's own script.

    Raises:
        UnavailableError: if Jinja2 is missing.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise UnavailableError("an HTML report needs Jinja2", hint=HINT) from None
    loader = PackageLoader("edgeprune.reporting")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "flat": lambda value: list(_flat(value)),
        "w": wording,
        "minus": lambda text: re.sub(r"(?<![^ ])-(?=\d)", "−", text),
    }
    script, _, _ = loader.get_source(environment, SCRIPT)
    text = environment.get_template(name).render(
        script=Markup(script),
        script_hash=f"sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        **context,
    )
    return text + "\n"


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Spell nested facts out as pairs of a dotted name and text."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{name}.{index}")
    else:
        yield name, _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | dict):
        return ", ".join(_plain(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
