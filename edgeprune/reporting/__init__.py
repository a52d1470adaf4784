"""Reports: measured speed-up against accuracy on an unseen domain."""

from __future__ import annotations

from edgeprune.reporting.document import ReportData, ReportModel, ReportRow
from edgeprune.reporting.write import check_report_output, report

__all__ = ["ReportData", "ReportModel", "ReportRow", "check_report_output", "report"]
