"""The report: collect, put side by side, write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from edgeprune.environment import version_of
from edgeprune.files import check_apart
from edgeprune.progress import SILENT, Progress
from edgeprune.reporting.budget import Budget, choose
from edgeprune.reporting.collect import Collected, collect
from edgeprune.reporting.document import BenchFacts, ReportData
from edgeprune.reporting.layers import build_layers
from edgeprune.reporting.models import build_models
from edgeprune.reporting.output import check_output, write_report
from edgeprune.reporting.page import html
from edgeprune.reporting.panels import build_panels
from edgeprune.reporting.picture import Draw
from edgeprune.reporting.plot import draw
from edgeprune.reporting.printable import printable
from edgeprune.reporting.rows import build_rows
from edgeprune.reporting.tables import csv_text, markdown
from edgeprune.reporting.wording import headline

DEFAULT_TITLE = "Speed-up against accuracy on an unseen domain"

WRITERS: dict[str, Callable[[ReportData], str]] = {
    ".html": html,
    ".md": markdown,
    ".csv": csv_text,
    ".json": ReportData.to_json,
}


def report(
    runs: Sequence[Path],
    output: Path,
    *,
    title: str | None = None,
    notes: Sequence[str] = (),
    budgets: Sequence[Budget] = (),
    device: str | None = None,
    progress: Progress = SILENT,
) -> ReportData:
    """Write a report on ``runs`` to ``output``, in the format of its extension.

    Args:
        runs: artifact directories, directories that hold artifacts or ``bench.json`` files at
            most two levels down, and bench result files.
        output: ``.html`` (one self-contained page), ``.md``, ``.csv``, ``.json``, or ``.svg`` and
            ``.png`` (the plots alone, a file each); replaced atomically if it exists.
        title: heading of the report.
        notes: what a reader must know first; shown above everything else.
        budgets: conditions; the best model that keeps all of them is named.
        device: the only one to choose on; None chooses for each way of measuring.
        progress: is told what is being done.

    Raises:
        UsageError: if the extension is another one, or nothing was measured on ``device``.
        OutputError: if ``output`` cannot be written, or is one of the files that are reported on.
        ResultError: if a run does not exist, holds nothing, or a bench result cannot be read; or
            if there is nothing to draw for a plot.
        ArtifactError: if the record of an artifact cannot be read.
        UnavailableError: if Jinja2 or matplotlib is missing for a page or a plot.
    """
    check_report_output(output)
    found = collect(runs)
    check_apart([output], found.files)
    data = build(found, title=title or DEFAULT_TITLE, notes=notes, budgets=budgets, device=device)
    progress.say(f"writing {output}")
    write_report(output, data, WRITERS, _drawings)
    return data


def _drawings(data: ReportData) -> list[Draw]:
    panels, _ = build_panels(data.rows)
    return [partial(draw, panel) for panel in panels]


def check_report_output(output: Path) -> None:
    """Check extension and place of a report before any work.

    Raises:
        UsageError: if the extension is none that a report can have.
        OutputError: if ``output`` is a directory or cannot be written.
    """
    tex = output.suffix.lower() == ".tex"
    check_output(output, WRITERS, "LaTeX tables are made of a sweep's directory" if tex else None)


def build(
    found: Collected,
    *,
    title: str,
    notes: Sequence[str] = (),
    budgets: Sequence[Budget] = (),
    device: str | None = None,
) -> ReportData:
    """Put what was collected side by side; text from files is made printable."""
    models, model_warnings = build_models(found.artifacts)
    rows, row_warnings = build_rows(found.artifacts, models, found.benches)
    _, panel_notes = build_panels(rows)
    bench_warnings = [
        f"{bench.path.name}: {text}" for bench in found.benches for text in bench.result.warnings
    ]
    line, rule = headline(rows)
    data = ReportData(
        title=title,
        headline=line,
        headline_rule=rule,
        notes=list(notes),
        warnings=[*model_warnings, *row_warnings, *panel_notes, *bench_warnings],
        choices=choose(rows, budgets, device) if budgets else [],
        rows=rows,
        models=models,
        layers=build_layers(found.artifacts, found.benches),
        benches=[
            BenchFacts(path=str(bench.path), environment=bench.result.environment)
            for bench in found.benches
        ],
        versions={"edgeprune": version_of("edgeprune") or "unknown"},
    )
    return ReportData.model_validate(printable(data.model_dump(by_alias=True)))
