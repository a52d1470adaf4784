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

    from edgeprune.schema import DGResult, DomainAccuracy


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
    source: options.Source = None,
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
    """Score a model on the unseen domains and on the others.

    What is held out is scored on its test images, every source on its validation images.

    An artifact is scored on the domains and split of its training, unless told otherwise.
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
        scored = (
            open_onnx(Path(model))
            if model.endswith(".onnx")
            else load_only(
                model, DenseOptions(num_classes, img_size, pretrained, weights, seed or 0)
            )
        )
        divided = choose_split(
            dataset,
            None if isinstance(scored, OnnxModel) else scored.record,
            target=target,
            source=source,
            by=split,
            seed=seed,
            progress=progress,
        )
        result = evaluate(scored, dataset, divided, batch_size=batch_size, progress=progress)
    title = f"Accuracy of {result.model}"
    show(result, json_, lambda console: console.print(accuracy_table(title, result.dg)))


def accuracy_table(title: str, dg: DGResult) -> Table:
    """Draw the accuracy on every domain; what was held out comes first and stands out."""
    from rich.table import Table

    from edgeprune.selection import ORACLE

    table = Table(title=f"{title}, {dg.dataset} split by {dg.split.by}", title_justify="left")
    if dg.selection == "oracle":
        table.caption = ORACLE
        table.caption_justify = "left"
    table.add_column("domain")
    for name in ("accuracy", "95 % interval", "images"):
        table.add_column(name, justify="right")
    sources = [name for name in dg.domains if name not in dg.held_out]
    for name in dg.held_out:
        table.add_row(*_cells(f"{name} (held out)", dg.domains[name]), style="bold")
    if len(dg.held_out) > 1:
        low, high = dg.target_interval or (None, None)
        interval = "" if low is None or high is None else f"{low:.1f} to {high:.1f}"
        mean = f"{dg.target_accuracy:.1f} %"
        table.add_row("mean of those held out", mean, interval, "", style="bold")
    table.add_section()
    for name in sources:
        table.add_row(*_cells(name, dg.domains[name]))
    if len(sources) > 1:
        table.add_section()
        table.add_row("all sources", f"{dg.source_val_accuracy:.1f} %", "", "")
    return table


def _cells(name: str, found: DomainAccuracy) -> tuple[str, str, str, str]:
    low, high = found.ci95
    return name, f"{found.accuracy:.1f} %", f"{low:.1f} to {high:.1f}", str(found.n)
