"""``edgeprune data``: known data sets, making one ready, looking through one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import app
from edgeprune.cli.options import Force, Json, Output
from edgeprune.cli.render import quiet_stdout, show
from edgeprune.errors import CheckError

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.domains.inspect import DataInspection
    from edgeprune.domains.prepare import DataPrepared
    from edgeprune.domains.registry import DataList

data_app = typer.Typer(
    help="Data sets: list known ones, make one ready, validate a folder.", no_args_is_help=True
)
app.add_typer(data_app, name="data")

SHOWN = 20


@data_app.command("list")
def list_(json_: Json = False) -> None:
    """List the data sets that are known by name."""
    from edgeprune.domains.registry import list_datasets

    document = list_datasets()
    show(document, json_, lambda console: _list_table(console, document))


@data_app.command("inspect")
def inspect_(
    root: Annotated[
        str, typer.Argument(metavar="ROOT", help="ROOT/DOMAIN/CLASS/IMAGE, or 'emoji'.")
    ],
    json_: Json = False,
) -> None:
    """Read every image once: counts, sizes, duplicates, and what is wrong (exit code 1).

    Wrong are files that cannot be read, and a known data set whose counts are not the known ones.
    """
    from edgeprune.domains.inspect import inspect
    from edgeprune.progress import TerminalProgress

    with quiet_stdout():
        document = inspect(root, progress=TerminalProgress())
    show(document, json_, lambda console: _inspect_table(console, document))
    bad = len(document.unreadable) + len(document.animated)
    if bad:
        first = (document.unreadable or document.animated)[0]
        raise CheckError(
            f"{bad} of {document.images} images cannot be used, the first is {first.path!r}"
        )
    if document.comparison and not document.comparison.complete:
        raise CheckError(
            f"{root!r} is not {document.comparison.known} as it is known:"
            f" {'; '.join(document.comparison.sentences())}"
        )


@data_app.command("prepare")
def prepare_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from 'data list'.")],
    output: Output,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Files brought by hand: parquet, zip, tar, or a folder; default: fetch them.",
        ),
    ] = None,
    unchecked: Annotated[
        bool,
        typer.Option("--unchecked", help="Write also what differs from known counts, checksums."),
    ] = False,
    force: Force = False,
    json_: Json = False,
) -> None:
    """Write a data set as a folder ROOT/DOMAIN/CLASS/IMAGE; fetch it, or take files from PATH."""
    from edgeprune.domains.prepare import check_preparable, prepare
    from edgeprune.files import check_output_directory
    from edgeprune.progress import TerminalProgress

    check_preparable(name, from_)
    check_output_directory(output, force=force)
    with quiet_stdout():
        document = prepare(
            name,
            output,
            source=from_,
            unchecked=unchecked,
            force=force,
            progress=TerminalProgress(),
        )
    show(document, json_, lambda console: _prepare_table(console, document))


def _list_table(console: Console, document: DataList) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Data sets")
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("domains")
    table.add_column("classes", justify="right")
    table.add_column("images", justify="right")
    table.add_column("use", no_wrap=True)
    for data in document.datasets:
        table.add_row(
            data.name,
            ", ".join(data.domains),
            f"{data.classes}",
            f"{data.images:,}",
            f"--data {data.use}",
        )
    console.print(table)
    embedded = "; ".join(f"{d.name}: {d.layout}" for d in document.datasets if d.embedded)
    console.print(f"ROOT is a folder ROOT/DOMAIN/CLASS/IMAGE. Embedded: {escape(embedded)}.")
    hand = [d.name for d in document.datasets if not (d.embedded or d.fetched)]
    console.print(f"'data prepare NAME' fetches or writes all but {', '.join(hand)} (by hand).")


def _inspect_table(console: Console, document: DataInspection) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    # The longer of the two lists goes down the page.
    names = list(document.domains)
    by_domain = len(document.classes) > len(names)
    rows, columns = (document.classes, names) if by_domain else (names, document.classes)
    title = f"{escape(document.name)}: images per domain and class"
    table = Table(
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("class" if by_domain else "domain", style="bold")
    for column in columns:
        table.add_column(escape(column), justify="right", overflow="fold")
    table.add_column("all", justify="right")
    for row in rows:
        counts = [
            document.domains[c if by_domain else row].classes[row if by_domain else c]
            for c in columns
        ]
        table.add_row(escape(row), *map(str, counts), f"{sum(counts):,}")
    console.print(table)
    console.print(
        f"{document.images:,} images in {document.groups:,} groups;"
        f" default split: by {document.default_split}"
    )
    for label, size in (("width", document.width_px), ("height", document.height_px)):
        if size:
            console.print(f"{label}: {size.min} to {size.max} px, median {size.median:g}")
    modes = ", ".join(f"{mode} {count:,}" for mode, count in document.modes.items())
    console.print(f"modes: {modes or 'none'}")
    if document.ignored:
        console.print(f"ignored, no images by their names: {len(document.ignored)}")
    for shared in document.duplicates:
        stand = "image stands" if shared.images == 1 else "images stand"
        console.print(
            f"[yellow]warning[/yellow] {shared.images:,} {stand} in"
            f" {escape(' and '.join(shared.domains))} alike, such as {escape(shared.example[0])}",
            soft_wrap=True,
        )
    for title, bad in (("unreadable", document.unreadable), ("animated", document.animated)):
        for one in bad[:SHOWN]:
            line = f"[red]{title}[/red] {escape(one.path)}: {escape(one.reason)}"
            console.print(line, soft_wrap=True)
        if len(bad) > SHOWN:
            console.print(f"... and {len(bad) - SHOWN} more {title}; --json names all")


def _prepare_table(console: Console, document: DataPrepared) -> None:
    from rich.markup import escape

    console.print(
        f"wrote {document.images:,} images of {len(document.domains)} domains and"
        f" {len(document.classes)} classes to {escape(document.root)}",
        soft_wrap=True,
    )
    for difference in document.differences:
        console.print(f"[yellow]unchecked[/yellow] {escape(difference)}", soft_wrap=True)
