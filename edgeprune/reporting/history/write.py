"""The report on a history: a page, plots, CSV or JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

from edgeprune.environment import version_of
from edgeprune.errors import ResultError
from edgeprune.gate.history import HistoryLine, read
from edgeprune.reporting.history.plot import draw
from edgeprune.reporting.history.series import build_panels, machine_names, short
from edgeprune.reporting.output import check_output, write_report
from edgeprune.reporting.picture import Draw, picture
from edgeprune.reporting.printable import printable
from edgeprune.reporting.tables import csv_cell
from edgeprune.reporting.template import render
from edgeprune.schema import Document

DEFAULT_TITLE = "Latency over commits"


class HistoryReport(Document):
    """What ``edgeprune report`` reports of a history."""

    SCHEMA: ClassVar[str] = "edgeprune/history-report@1"

    title: str
    headline: str
    headline_rule: str | None = None
    warnings: list[str]
    lines: list[HistoryLine]
    versions: dict[str, str]


def report_history(source: Path, output: Path, *, title: str | None = None) -> HistoryReport:
    """Write a report on the history in ``source`` to ``output``, by its extension.

    Raises:
        UsageError: if the extension is another one.
        OutputError: if ``output`` cannot be written.
        ResultError: if the history is missing, damaged, or has no latencies.
        UnavailableError: if Jinja2 or matplotlib is missing for a plot.
    """
    check_output(output, WRITERS, inputs=[source])
    data = _build(read(source), title or DEFAULT_TITLE)
    if not build_panels(data.lines):
        raise ResultError(f"history {str(source)!r} has no latencies")
    write_report(output, data, WRITERS, _drawings)
    return data


def _drawings(data: HistoryReport) -> list[Draw]:
    return [partial(draw, panel) for panel in build_panels(data.lines)]


def _build(lines: list[HistoryLine], title: str) -> HistoryReport:
    failed = sum(not line.passed for line in lines)
    last = "held" if lines[-1].passed else "did not hold"
    machines = machine_names(lines)
    warnings = []
    if len(machines) > 1:
        names = ", ".join(dict.fromkeys(machines.values()))
        warnings.append(f"{len(machines)} machines ({names}): compare points of one machine only")
    data = HistoryReport(
        title=title,
        headline=f"{len(lines)} checks, {failed} failed; the last one ({short(lines[-1])}) {last}",
        warnings=warnings,
        lines=lines,
        versions={"edgeprune": version_of("edgeprune") or "unknown"},
    )
    return HistoryReport.model_validate(printable(data.model_dump(by_alias=True)))


def _html(data: HistoryReport) -> str:
    panels = build_panels(data.lines)
    return render(
        "history.html.j2",
        data=data,
        notes=[],
        panels=[(panel, picture(partial(draw, panel))) for panel in panels],
    )


def _csv(data: HistoryReport) -> str:
    """Return one row per latency."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    header = ("time", "commit", "machine", "metric", "setting", "model", "latency_ms", "verdict")
    writer.writerow(header)
    commits = [line.commit for line in data.lines]
    for panel in build_panels(data.lines):
        for series in panel.series:
            for point in series.points:
                row = (
                    point.time,
                    commits[point.index],
                    series.machine,
                    panel.metric,
                    panel.setting,
                    series.model,
                    point.value,
                    point.verdict,
                )
                writer.writerow(map(csv_cell, row))
    return stream.getvalue()


WRITERS: dict[str, Callable[[HistoryReport], str]] = {
    ".html": _html,
    ".csv": _csv,
    ".json": HistoryReport.to_json,
}
