"""``edgeprune report``: speed-up against accuracy on the unseen domain, of runs or of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import app, options
from edgeprune.cli.render import quiet_stdout, show
from edgeprune.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.reporting import ReportData, SweepReport
    from edgeprune.reporting.budget import Budget
    from edgeprune.reporting.history import HistoryReport

NOT_WITHIN = 1
HISTORY = ".jsonl"


@app.command("report")
def report_command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Artifact directories, folders that hold artifacts or bench.json files, or"
            " bench.json files; or one directory of a sweep, also while it runs; or one history"
            " of checks (.jsonl).",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="By extension: .html, .md, .csv, .json, or .svg and .png for the plots alone; of"
            " a sweep also .tex; of a history no .md.",
        ),
    ],
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Name the best model within it, such as 'p95<10ms' or 'accuracy>=60'; give it"
            " again for another one. Exit code 1 if there is none.",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Choose among what was measured there alone.")
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Heading of the report.")] = None,
    json_: options.Json = False,
) -> None:
    """Put measured speed-up against accuracy on the unseen domain."""
    with quiet_stdout():
        from edgeprune.reporting import find_store
        from edgeprune.reporting.budget import parse_budget

        budgets = [parse_budget(text) for text in budget or []]
        if device is not None and not budgets:
            raise UsageError("--device is for choosing within a --budget")
        store = find_store(runs)
    history = any(run.suffix == HISTORY for run in runs)
    if budgets and (history or store):
        raise UsageError(
            "--budget is for runs, not for a sweep or a history",
            hint="give the directories of trials and a bench.json of them",
        )
    if history:
        _report_history(runs, output, title, json_)
    elif store:
        _report_sweep(store, output, title, json_)
    else:
        _report_runs(runs, output, title, budgets, device, json_)


def _report_history(runs: list[Path], output: Path, title: str | None, json_: bool) -> None:
    if len(runs) > 1:
        raise UsageError("a history is reported by itself, not beside other runs")
    with quiet_stdout():
        from edgeprune.reporting.history import report_history

        data = report_history(runs[0], output, title=title)
    show(data, json_, lambda console: _print_history(console, data, output))


def _report_sweep(store: Path, output: Path, title: str | None, json_: bool) -> None:
    with quiet_stdout():
        from edgeprune.progress import TerminalProgress
        from edgeprune.reporting import report_sweep

        data = report_sweep(store, output, title=title, progress=TerminalProgress())
    show(data, json_, lambda console: _print_sweep(console, data, output))


def _report_runs(
    runs: list[Path],
    output: Path,
    title: str | None,
    budgets: list[Budget],
    device: str | None,
    json_: bool,
) -> None:
    with quiet_stdout():
        from edgeprune.progress import TerminalProgress
        from edgeprune.reporting import report

        data = report(
            runs,
            output,
            title=title,
            budgets=budgets,
            device=device,
            progress=TerminalProgress(),
        )
    show(data, json_, lambda console: _print(console, data, output))
    if data.choices and all(choice.label is None for choice in data.choices):
        raise typer.Exit(NOT_WITHIN)


def _print_history(console: Console, data: HistoryReport, output: Path) -> None:
    from rich.text import Text

    for warning in data.warnings:
        console.print(Text(f"warning: {warning}"))
    console.print(Text(data.headline))
    console.print(Text(f"report: {output}"), soft_wrap=True)


def _print(console: Console, data: ReportData, output: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    from edgeprune.reporting.tables import HEADER, cells_of
    from edgeprune.reporting.wording import choice_text, differences

    table = Table()
    shown = (0, 1, 4, 5, 6, 7, 8)
    lines = [[cells_of(row)[column] for column in shown] for row in data.rows]
    for column in shown:
        table.add_column(HEADER[column], overflow="fold")
    settings = differences(data.rows, data.benches)
    if any(settings):
        table.add_column("setting", overflow="fold")
        lines = [[*line, own] for line, own in zip(lines, settings, strict=True)]
    for line in lines:
        table.add_row(*map(Text, line))
    console.print(table)
    for warning in data.warnings:
        console.print(Text(f"warning: {warning}"))
    console.print(Text(data.headline))
    for choice in data.choices:
        console.print(Text(choice_text(choice)))
    console.print(Text(f"report: {output}"), soft_wrap=True)


def _print_sweep(console: Console, data: SweepReport, output: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    from edgeprune.reporting.sweep.failures import failures
    from edgeprune.reporting.sweep.tables import results

    found = results(data)
    table = Table()
    for index, column in enumerate(found.columns):
        table.add_column(
            Text(column), justify="left" if index < found.texts else "right", overflow="fold"
        )
    for index, row in enumerate(found.rows):
        if index in found.starts[1:]:
            table.add_section()
        table.add_row(*(Text(cell.text(), "bold" if cell.bold else "") for cell in row))
    console.print(table)
    console.print(Text(f"{'. '.join(found.caption)}."))
    for text in failures(data):
        console.print(Text(f"failed: {text}"))
    for warning in data.warnings:
        console.print(Text(f"warning: {warning}"))
    console.print(Text(data.progress))
    console.print(Text(data.headline))
    console.print(Text(f"report: {output}"), soft_wrap=True)
