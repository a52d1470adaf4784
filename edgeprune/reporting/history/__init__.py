"""Reports on the history of a gate: latency over commits."""

from __future__ import annotations

from edgeprune.reporting.history.write import HistoryReport, report_history

__all__ = ["HistoryReport", "report_history"]
