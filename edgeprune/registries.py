"""Packages whose modules are what there is to choose from: a new one is one new file.

Light, since measuring processes import it, and their memory is part of what they measure.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable


def module_names(places: Iterable[str]) -> list[str]:
    """Return the modules in a package's ``__path__``, sorted, without ``base``."""
    return sorted(module.name for module in pkgutil.iter_modules(places) if module.name != "base")
