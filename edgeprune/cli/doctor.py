"""``edgeprune doctor``: what is installed, what works here, what to do about the rest."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import typer

from edgeprune.cli import app
from edgeprune.cli.options import Json
from edgeprune.cli.render import quiet_stdout, show

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.doctor import Check, DoctorResult

NOT_READY = 3
STYLES = {"ok": "green", "missing": "bold red", "broken": "bold red", "optional": "dim"}
HEADINGS = {
    "python": "Python",
    "package": "Packages that every command needs",
    "system": "System",
    "device": "Devices",
    "runtime": "Runtimes, tried here",
    "accelerator": "GPU runtimes, tried here",
}


@app.command("doctor")
def doctor_(json_: Json = False) -> None:
    """Say what is installed, what works here, and what adds the rest."""
    from edgeprune.doctor import doctor
    from edgeprune.progress import TerminalProgress

    with quiet_stdout():
        result = doctor(progress=TerminalProgress())
    show(result, json_, lambda console: _table(result, console))
    if not result.ready:
        raise typer.Exit(NOT_READY)


def _table(result: DoctorResult, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    width = max(len(check.name) for check in result.checks)
    for kind, checks in groupby(result.checks, key=lambda check: check.kind):
        console.print(f"[bold]{escape(_heading(kind))}[/bold]")
        table = Table(box=None, show_header=False)
        table.add_column(no_wrap=True, width=max(map(len, STYLES)))
        table.add_column(no_wrap=True, width=width)
        table.add_column()
        for check in checks:
            style = STYLES[check.status]
            wanted = f" ({check.wanted})" if check.wanted else ""
            table.add_row(
                f"[{style}]{check.status}[/{style}]",
                escape(check.name),
                escape(f"{check.found or 'none'}{wanted}"),
            )
        console.print(table)
    _fixes(result.checks, console)
    verdict = "Ready." if result.ready else "Not ready: something that every command needs fails."
    console.print(f"[bold]{verdict}[/bold]")


def _heading(kind: str) -> str:
    return HEADINGS.get(kind, f"Extra [{kind.partition(':')[2]}]")


def _fixes(checks: list[Check], console: Console) -> None:
    fixes: dict[str, list[str]] = {}
    for check in checks:
        if check.fix:
            fixes.setdefault(check.fix, []).append(check.name)
    for fix, names in fixes.items():
        console.print(f"For {', '.join(names)}:", highlight=False, markup=False)
        console.print(f"  {fix}", highlight=False, markup=False, soft_wrap=True)
