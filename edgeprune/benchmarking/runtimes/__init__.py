"""The runtimes that can be measured: one file each, see base.py."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from edgeprune.benchmarking.runtimes.base import Profiling, ProgramModule
from edgeprune.errors import UsageError, one_of
from edgeprune.registries import module_names

if TYPE_CHECKING:
    from edgeprune.benchmarking.runtimes.base import RuntimeModule


def names() -> list[str]:
    """Return the names of the runtimes: those of the files, with dashes."""
    return sorted(name.replace("_", "-") for name in module_names(__path__))


def check(name: str) -> str:
    """Return ``name`` if it is a runtime.

    Raises:
        UsageError: if there is no such runtime.
    """
    return one_of(name, "runtime", names())


def get(name: str) -> RuntimeModule:
    """Return the module of a runtime; it has not imported its library yet.

    Raises:
        UsageError: if there is no such runtime.
    """
    module = check(name).replace("-", "_")
    return cast("RuntimeModule", import_module(f"{__name__}.{module}"))


def program(name: str) -> ProgramModule | None:
    """Return the module of a runtime that is a program of its own, None for another.

    Raises:
        UsageError: if there is no such runtime.
    """
    module: object = get(name)
    return module if isinstance(module, ProgramModule) else None


def get_profiling(name: str) -> Profiling:
    """Return the module of a runtime that has a profiler.

    Raises:
        UsageError: if the runtime has none.
    """
    module = get(name)
    if isinstance(module, Profiling):
        return module
    able = [other for other in names() if isinstance(get(other), Profiling)]
    raise UsageError(f"--per-layer is not for runtime {name!r}; accepted: {', '.join(able)}")
