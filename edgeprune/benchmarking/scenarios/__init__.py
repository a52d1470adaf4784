"""How a model is used while it is measured: one file per scenario, see base.py."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from edgeprune.errors import one_of
from edgeprune.registries import module_names

if TYPE_CHECKING:
    from edgeprune.benchmarking.scenarios.base import ScenarioModule


def names() -> list[str]:
    """Return the names of the scenarios."""
    return module_names(__path__)


def get(name: str) -> ScenarioModule:
    """Return the module of a scenario.

    Raises:
        UsageError: if there is no such scenario.
    """
    found = one_of(name, "scenario", names())
    return cast("ScenarioModule", import_module(f"{__name__}.{found}"))
