"""``edgeprune sweep``: a grid of trials, here or on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import app, options
from edgeprune.cli.render import quiet_stdout, show
from edgeprune.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.sweeping import SweepPlan, SweepResult

NOT_ALL_DONE = 1


@app.command("sweep")
def sweep_command(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC",
            help="A .toml file, or one that comes with edgeprune: emoji, paper-pacs,"
            " paper-office-home, emoji-steps.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="New, or that of a sweep to go on with."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Trials at a time on this machine. Default: 1.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Compute threads of a trial. Default: cores / workers."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Run on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the trials, do none.")] = False,
    json_: options.Json = False,
) -> None:
    """Do every trial of a grid: models x metrics x ratios x targets x seeds.

    Run again, it goes on where it stopped; finished trials are never done again. Exit code 1 says
    that a trial failed.
    """
    if output is None and not dry_run:
        raise UsageError("sweep needs an output directory: -o DIR (or --dry-run)")
    if ray is not None and workers is not None:
        raise UsageError("--workers is for this machine, --ray for a cluster: give one of the two")
    with quiet_stdout():
        from edgeprune.progress import TerminalProgress
        from edgeprune.sweeping import dry, sweep
        from edgeprune.sweeping.spec import parse_spec, spec_text

        text = spec_text(spec)
        grid = parse_spec(text, spec)
        if dry_run or output is None:
            planned = dry(grid, output)
        else:
            result = sweep(
                grid,
                output,
                workers=1 if workers is None else workers,
                threads=threads,
                ray=ray,
                text=text,
                progress=TerminalProgress(),
            )
    if dry_run or output is None:
        show(planned, json_, lambda console: _plan_table(console, planned))
        return
    show(result, json_, lambda console: _table(console, result))
    if result.failed:
        raise typer.Exit(NOT_ALL_DONE)


def _plan_table(console: Console, planned: SweepPlan) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(planned.name), title_justify="left")
    for column in ("trial", "done"):
        table.add_column(column, overflow="fold")
    for trial in planned.trials:
        table.add_row(Text(trial.id), "yes" if trial.done else "")
    console.print(table)
    done = sum(trial.done for trial in planned.trials)
    console.print(f"{len(planned.trials)} trials, {done} done already")


def _table(console: Console, result: SweepResult) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(result.name), title_justify="left")
    table.add_column("trial", overflow="fold")
    for column in ("target, %", "source validation, %", "seconds"):
        table.add_column(column, justify="right")
    for row in result.rows:
        if row.result is None:
            table.add_row(Text(row.id), Text(row.state, style="bold red"), "", "")
            continue
        dg = row.result.dg
        table.add_row(
            Text(row.id),
            f"{dg.target_accuracy:.1f}",
            f"{dg.source_val_accuracy:.1f}",
            f"{row.result.seconds.total:.0f}",
        )
    console.print(table)
    for row in result.rows:
        if row.error:
            console.print(Text(f"failed: {row.id}: {row.error}"))
    console.print(
        Text(f"{result.done} of {result.trials} trials done, {result.failed} failed"),
        Text(f"edgeprune report {Path(result.store).parent} -o table.md shows them as a table"),
        sep="\n",
    )
