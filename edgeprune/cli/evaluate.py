"""``edgeprune eval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import app, options
from edgeprune.cli.render import quiet_stdout, show
from edgeprune.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from edgeprune.schema import DGResult


@app.command("eval")
def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_ONNX",
            help="A timm model name, an artifact directory or an ONNX file.",
        ),
    ],
    data: options.Data = None,
    target: options.Target = None,
    split: options.Split = None,
    batch_size: Annotated[int, typer.Option(help="Images per forward pass.")] = 64,
    num_classes: options.NumClasses = None,
    img_size: options.ImgSize = None,
    pretrained: options.Pretrained = True,
    weights: options.Weights = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of the split. Default: that of the artifact's training, else 0."),
    ] = None,
    json_: options.Json = False,
) -> None:
    """Score a model on the unseen domain and on the others.

    The target is scored on its test images, every other domain on its validation images.

    An artifact is scored on the target and split that it was trained with, unless told otherwise.
    """
    if data is None:
        raise UsageError("eval needs images: --data ROOT, or --data emoji")
    with quiet_stdout():
        from edgeprune.domains import open_dataset
        from edgeprune.loading import load_only
        from edgeprune.model import DenseOptions
        from edgeprune.progress import TerminalProgress
        from edgeprune.training import OnnxModel, choose_split, evaluate, open_onnx

        progress = TerminalProgress()
        dataset = open_dataset(data)
        source = (
            open_onnx(Path(model))
            if model.endswith(".onnx")
            else load_only(
                model, DenseOptions(num_classes, img_size, pretrained, weights, seed or 0)
            )
        )
        divided = choose_split(
            dataset,
            None if isinstance(source, OnnxModel) else source.record,
            target=target,
            by=split,
            seed=seed,
            progress=progress,
        )
        result = evaluate(source, dataset, divided, batch_size=batch_size, progress=progress)
    title = f"Accuracy of {result.model}"
    show(result, json_, lambda console: console.print(accuracy_table(title, result.dg)))


def accuracy_table(title: str, dg: DGResult) -> Table:
    """Draw the accuracy on every domain; the target comes first and stands out."""
    from rich.table import Table

    from edgeprune.selection import ORACLE

    table = Table(title=f"{title}, {dg.dataset} split by {dg.split.by}", title_justify="left")
    if dg.selection == "oracle":
        table.caption = ORACLE
        table.caption_justify = "left"
    table.add_column("domain")
    for name in ("accuracy", "95 % interval", "images"):
        table.add_column(name, justify="right")
    names = [dg.target, *(name for name in dg.domains if name != dg.target)]
    for name in names:
        found = dg.domains[name]
        low, high = found.ci95
        held_out = name == dg.target
        table.add_row(
            f"{name} (held out)" if held_out else name,
            f"{found.accuracy:.1f} %",
            f"{low:.1f} to {high:.1f}",
            str(found.n),
            style="bold" if held_out else None,
            end_section=held_out or name == names[-1],
        )
    table.add_row("all sources", f"{dg.source_val_accuracy:.1f} %", "", "")
    return table
