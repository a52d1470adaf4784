"""``edgeprune weights``: pre-trained weights that installed packages carry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import app
from edgeprune.cli.options import Json
from edgeprune.cli.render import quiet_stdout, show
from edgeprune.figures import count

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.pretrained.prepare import WeightsList, WeightsPrepared

weights_app = typer.Typer(
    help="Pre-trained weights that installed packages carry.",
    no_args_is_help=True,
)
app.add_typer(weights_app, name="weights")


@weights_app.command("list")
def list_(json_: Json = False) -> None:
    """List the weights that can be made ready."""
    from edgeprune.pretrained import list_recipes

    document = list_recipes()
    show(document, json_, lambda console: _list_table(console, document))


@weights_app.command("prepare")
def prepare_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from 'weights list'.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="A .safetensors file.")
    ],
    img_size: Annotated[
        int | None,
        typer.Option(
            "--img-size",
            min=1,
            help="Image size to resample the position embedding to; default: as trained.",
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Write weights as safetensors; pass the same --img-size to the command that loads them."""
    from edgeprune.pretrained.prepare import check_request, prepare_weights

    check_request(name, output, img_size)
    with quiet_stdout():
        document = prepare_weights(name, output, img_size=img_size)
    show(document, json_, lambda console: _prepare_table(console, document))


def _list_table(console: Console, document: WeightsList) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Pre-trained weights")
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("timm model", no_wrap=True)
    table.add_column("image size", justify="right")
    table.add_column("package")
    for one in document.weights:
        version = one.version or "[yellow]not installed[/yellow]"
        table.add_row(
            one.name,
            one.model,
            f"{one.img_size}",
            f"{one.package} {version}",
        )
    console.print(table)
    for one in document.weights:
        console.print(f"[bold]{one.name}[/bold]: {escape(one.source)}. {escape(one.licence)}.")


def _prepare_table(console: Console, document: WeightsPrepared) -> None:
    from rich.markup import escape

    console.print(
        f"wrote {count(document.params)} parameters ({document.bytes / 1e6:.1f} MB)"
        f" to {escape(document.file)}",
        soft_wrap=True,
    )
    console.print(f"source: {escape(document.source)}; licence: {escape(document.licence)}")
    console.print(
        f"use: edgeprune finetune {document.model} --img-size {document.img_size}"
        f" --weights {escape(document.file)}",
        soft_wrap=True,
    )
