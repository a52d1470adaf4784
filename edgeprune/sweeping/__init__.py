"""Sweeps: models x metrics x ratios x targets x seeds, into one store of results."""

from __future__ import annotations

from edgeprune.sweeping.results import SweepPlan, SweepResult
from edgeprune.sweeping.spec import SweepSpec, read_spec
from edgeprune.sweeping.sweep import dry, sweep

__all__ = ["SweepPlan", "SweepResult", "SweepSpec", "dry", "read_spec", "sweep"]
