"""Sweeps: models x metrics x ratios x targets x seeds, into one store of results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeprune.sweeping.results import SweepPlan, SweepResult
from edgeprune.sweeping.spec import SweepSpec, read_spec

if TYPE_CHECKING:
    from edgeprune.sweeping.run import dry, sweep

__all__ = ["SweepPlan", "SweepResult", "SweepSpec", "dry", "read_spec", "sweep"]


def __getattr__(name: str) -> Any:
    # On first use: a report reads what sweeps wrote and must not load torch.
    if name in ("dry", "sweep"):
        import importlib

        return getattr(importlib.import_module("edgeprune.sweeping.run"), name)
    raise AttributeError(f"module 'edgeprune.sweeping' has no attribute {name!r}")
