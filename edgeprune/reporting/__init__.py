"""Reports: measured speed-up against accuracy on an unseen domain, of runs and of sweeps."""

from __future__ import annotations

from edgeprune.reporting.document import ReportData, ReportModel, ReportRow
from edgeprune.reporting.sweep import SweepReport, find_store, report_sweep
from edgeprune.reporting.write import check_report_output, report

__all__ = [
    "ReportData",
    "ReportModel",
    "ReportRow",
    "SweepReport",
    "check_report_output",
    "find_store",
    "report",
    "report_sweep",
]
