"""``edgeprune report``: speed-up against accuracy on the unseen domain, as a page or a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import app, options
from edgeprune.cli.render import quiet_stdout, show

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.reporting import ReportData


@app.command("report")
def report_command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Artifact directories, folders that hold artifacts or bench.json files, or"
            " bench.json files.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="By extension: .html, .md, .csv or .json."
        ),
    ],
    title: Annotated[str | None, typer.Option("--title", help="Heading of the report.")] = None,
    json_: options.Json = False,
) -> None:
    """Put measured speed-up against accuracy on the unseen domain."""
    with quiet_stdout():
        from edgeprune.progress import TerminalProgress
        from edgeprune.reporting import report

        data = report(runs, output, title=title, progress=TerminalProgress())
    show(data, json_, lambda console: _print(console, data, output))


def _print(console: Console, data: ReportData, output: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    from edgeprune.reporting.tables import HEADER, cells_of

    table = Table()
    shown = (0, 1, 4, 5, 6, 7, 8)
    for column in shown:
        table.add_column(HEADER[column], overflow="fold")
    for row in data.rows:
        cells = cells_of(row)
        table.add_row(*(Text(cells[column]) for column in shown))
    console.print(table)
    for warning in data.warnings:
        console.print(Text(f"warning: {warning}"))
    console.print(Text(data.headline))
    console.print(Text(f"report: {output}"), soft_wrap=True)
