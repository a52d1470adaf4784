"""Reports on sweeps: the paper's tables, from a store that may still be growing."""

from __future__ import annotations

from edgeprune.reporting.sweep.document import SweepReport
from edgeprune.reporting.sweep.write import find_store, report_sweep

__all__ = ["SweepReport", "find_store", "report_sweep"]
