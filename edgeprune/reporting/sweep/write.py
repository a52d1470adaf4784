"""The report on a sweep: read the store, put its trials together, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from edgeprune.environment import version_of
from edgeprune.errors import ArtifactError, ResultError, UsageError
from edgeprune.progress import SILENT, Progress
from edgeprune.reporting.collect import RECORD_FILE
from edgeprune.reporting.output import check_output, write_report
from edgeprune.reporting.picture import Draw
from edgeprune.reporting.plot import draw
from edgeprune.reporting.printable import printable
from edgeprune.reporting.sweep.curves import all_curves, draw_curves
from edgeprune.reporting.sweep.document import SweepReport, TrialLine
from edgeprune.reporting.sweep.failures import progress as progress_of
from edgeprune.reporting.sweep.front import fronts
from edgeprune.reporting.sweep.headline import headline
from edgeprune.reporting.sweep.latex import latex
from edgeprune.reporting.sweep.page import html
from edgeprune.reporting.sweep.rows import build_rows
from edgeprune.reporting.sweep.text import csv_text, markdown
from edgeprune.reporting.sweep.timing import speeds_by_fingerprint
from edgeprune.reporting.sweep.trials import trial_lines
from edgeprune.reporting.wording import share
from edgeprune.result_files import read_finite
from edgeprune.schema import ArtifactRecord
from edgeprune.selection import comparable
from edgeprune.sweeping.layout import is_under_way
from edgeprune.sweeping.results import Row
from edgeprune.sweeping.store import STORE_FILE, Results, read_store

WRITERS: dict[str, Callable[[SweepReport], str]] = {
    ".html": html,
    ".tex": latex,
    ".md": markdown,
    ".csv": csv_text,
    ".json": SweepReport.to_json,
}
STORE_SUFFIX = Path(STORE_FILE).suffix


def find_store(runs: Sequence[Path]) -> Path | None:
    """Return the store of the sweep that ``runs`` name, or None if they name no sweep.

    Raises:
        UsageError: if a sweep is named together with anything else.
    """
    for run in runs:
        inside = run / STORE_FILE
        store = inside if inside.is_file() else run if run.suffix == STORE_SUFFIX else None
        if store is not None and len(runs) > 1:
            raise UsageError(f"run {str(run)!r} is a sweep; a sweep is reported by itself")
        if store is not None:
            return store
    return None


def report_sweep(
    store: Path, output: Path, *, title: str | None = None, progress: Progress = SILENT
) -> SweepReport:
    """Write the tables of a sweep to ``output``, in the format of its extension.

    The sweep may be running: the report is of the trials that are done, and says so.

    Args:
        store: the ``results.sqlite`` of the sweep.
        output: ``.html`` (one self-contained page), ``.tex``, ``.md``, ``.csv`` (one row per
            trial), ``.json``, or ``.svg`` and ``.png`` (the plots alone, a file each); replaced
            atomically if it exists.
        title: heading of the report; the sweep's name by default.
        progress: is told what is being done.

    Raises:
        UsageError: if the extension is another one.
        OutputError: if ``output`` cannot be written.
        ResultError: if the store cannot be read, or no trial is planned in it.
        UnavailableError: if Jinja2 or matplotlib is missing for a page or a plot.
    """
    check_output(output, WRITERS, inputs=[store])
    results = read_store(store)
    if not is_under_way(store.parent):
        results.rows = [_interrupted(row) for row in results.rows]
    if not results.rows:
        raise ResultError(f"{str(store)!r} holds no trials")
    data = build(results, read_data_fingerprints(store.parent, results), title=title)
    progress.say(f"writing {output}")
    write_report(output, data, WRITERS, _drawings)
    return data


def _interrupted(row: Row) -> Row:
    """Return a trial of a sweep that has ended: what it was at waits to be gone on with."""
    return row.model_copy(update={"state": "waiting"}) if row.state == "running" else row


def _drawings(data: SweepReport) -> list[Draw]:
    return [
        *(partial(draw, front) for front in fronts(data)),
        *(partial(draw_curves, curves) for curves in all_curves(data)),
    ]


def read_data_fingerprints(root: Path, results: Results) -> dict[str, str]:
    """Read from the artifacts that lie below ``root`` which data their trials used."""
    found = {}
    for row in results.rows:
        if row.result is None:
            continue
        path = root / row.result.artifact / RECORD_FILE
        if not path.is_file():
            continue
        record = read_finite(path, ArtifactRecord, ArtifactError)
        used = [made.data.fingerprint for made in record.made if made.data is not None]
        if used and record.weights_sha256 == row.result.fingerprint:
            found[row.id] = used[-1]
    return found


def build(
    results: Results, data_fingerprints: Mapping[str, str], *, title: str | None = None
) -> SweepReport:
    """Put the trials of a store together; text from it is made printable."""
    speeds, timing_warnings = speeds_by_fingerprint(results.rows, results.benches)
    trials = trial_lines(results.rows, speeds, data_fingerprints)
    targets = list(dict.fromkeys(trial.target for trial in trials))
    rows = build_rows(trials, targets)
    line, rule = headline(rows, targets)
    data = SweepReport(
        title=title or results.name,
        progress=progress_of(trials),
        complete=all(trial.state == "done" for trial in trials),
        headline=line,
        headline_rule=rule,
        warnings=[*_mixed(trials), *_selected_otherwise(trials), *timing_warnings],
        targets=targets,
        seeds=sorted({trial.seed for trial in trials}),
        protocol=_protocol(trials),
        rows=rows,
        trials=trials,
        environments={name: bench.environment for name, bench in results.benches.items()},
        versions={"edgeprune": version_of("edgeprune") or "unknown"},
    )
    return SweepReport.model_validate(printable(data.model_dump(by_alias=True)))


def _protocol(trials: Sequence[TrialLine]) -> list[str]:
    """Say how the trials were scored, once for each way."""
    chosen = {
        "source": "best step by source validation",
        "last": "last step",
        "oracle": "best step by the target itself (oracle)",
    }
    found = []
    for trial in trials:
        if trial.dataset is not None and trial.holdout is not None:
            how = chosen.get(trial.selection or "", trial.selection or "selection not known")
            split = f"split by {trial.split}, {share(trial.holdout)} held out"
            found.append(f"Data: {trial.dataset}, {split}; model selection: {how}")
    return list(dict.fromkeys(found))


def _mixed(trials: Sequence[TrialLine]) -> list[str]:
    """Warn where the trials that are averaged differ in what should be the same."""
    facts: dict[str, Callable[[TrialLine], Any]] = {
        "data": lambda trial: trial.data_fingerprint,
        "versions": lambda trial: trial.versions or None,
        "selection": lambda trial: trial.selection,
        "split": lambda trial: (trial.split, trial.holdout) if trial.split else None,
    }
    warnings = []
    for name, fact in facts.items():
        values = [value for value in map(fact, trials) if value is not None]
        if any(value != values[0] for value in values):
            warnings.append(f"the trials differ in {name}: see the CSV before comparing rows")
    repeated = {trial.model for trial in trials if trial.variant > 1}
    for model in sorted(repeated):
        warnings.append(
            f"{model} has rows that differ only in settings which the table does not show; they"
            " are numbered in the order of the sweep"
        )
    return warnings


def _selected_otherwise(trials: Sequence[TrialLine]) -> list[str]:
    """Say why there is no drop against dense models that were selected otherwise."""
    done = [trial for trial in trials if trial.state == "done"]
    dense = {
        (trial.model, trial.target, trial.seed): trial.selection
        for trial in done
        if trial.kind == "dense"
    }
    pairs = [
        (trial.selection, dense.get((trial.model, trial.target, trial.seed), trial.selection))
        for trial in done
        if trial.kind == "pruned"
    ]
    lost = [(own, other) for own, other in pairs if not comparable(own, other)]
    return [
        f"no drop is given for {lost.count((own, other))} of {len(pairs)} pruned trials: the step"
        f" was selected by {own or 'nothing'}, that of the dense model by {other or 'nothing'}"
        for own, other in dict.fromkeys(lost)
    ]
