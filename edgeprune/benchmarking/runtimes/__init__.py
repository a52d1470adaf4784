"""The runtimes that can be measured: one file each, see base.py."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, cast

from edgeprune.errors import UnavailableError, one_of

if TYPE_CHECKING:
    from edgeprune.benchmarking.runtimes.base import RuntimeModule

# In the contract, but not in this version.
PLANNED = ("tensorrt",)


def names() -> list[str]:
    """Return the names of the runtimes: those of the files, with dashes."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.replace("_", "-") for name in modules if name != "base")


def check(name: str) -> str:
    """Return ``name`` if it is a runtime.

    Raises:
        UnavailableError: if this version cannot measure it yet.
        UsageError: if there is no such runtime.
    """
    if name in PLANNED and name not in names():
        raise UnavailableError(
            f"runtime {name!r} is not available in this version; accepted: {', '.join(names())}"
        )
    return one_of(name, "runtime", names())


def get(name: str) -> RuntimeModule:
    """Return the module of a runtime; it has not imported its library yet.

    Raises:
        UsageError: if there is no such runtime.
    """
    module = check(name).replace("-", "_")
    return cast("RuntimeModule", import_module(f"{__name__}.{module}"))
