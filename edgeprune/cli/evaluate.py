"""``edgeprune eval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import app, options
from edgeprune.cli.render import plain, quiet_stdout, show
from edgeprune.errors import UsageError
from edgeprune.files import check_apart, check_output_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.table import Table

    from edgeprune.model import DenseOptions, Model
    from edgeprune.schema import DGResult, DomainAccuracy, Drop, EvalResult
    from edgeprune.training import OnnxModel


@app.command("eval")
def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_ONNX",
            help="A timm model name, an artifact directory, an ONNX file or a TensorRT engine.",
        ),
    ],
    data: options.Data = None,
    target: options.Target = None,
    source: options.Source = None,
    split: options.Split = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="DENSE", help="Score this model as well and show the drop against it, paired."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Keep the predictions (safetensors)."),
    ] = None,
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
    if output is not None:
        check_output_file(output)
        check_apart([output], [model, against, weights])
    with quiet_stdout():
        from edgeprune.domains import open_dataset
        from edgeprune.engines.files import SUFFIX
        from edgeprune.loading import load_model, load_only
        from edgeprune.model import DenseOptions
        from edgeprune.progress import TerminalProgress
        from edgeprune.training import OnnxModel, choose_split, evaluate, open_onnx
        from edgeprune.training.engine_model import open_engine_model

        progress = TerminalProgress()
        dataset = open_dataset(data)
        how = DenseOptions(num_classes, img_size, pretrained, weights, seed or 0)

        def load(name: str, load_torch: Callable[[str, DenseOptions], Model]) -> Model | OnnxModel:
            if name.endswith(SUFFIX):
                return open_engine_model(Path(name))
            return open_onnx(Path(name)) if name.endswith(".onnx") else load_torch(name, how)

        scored = load(model, load_only if against is None else load_model)
        dense = load(against, load_model) if against is not None else None
        divided = choose_split(
            dataset,
            None if isinstance(scored, OnnxModel) else scored.record,
            target=target,
            source=source,
            by=split,
            seed=seed,
            progress=progress,
        )
        result = evaluate(
            scored,
            dataset,
            divided,
            dense=dense,
            against=against or "",
            output=output,
            batch_size=batch_size,
            progress=progress,
        ).model_copy(update={"scored": model})
    title = f"Accuracy of {result.model}"
    show(result, json_, lambda console: _print(console, title, result))


def _print(console: Console, title: str, result: EvalResult) -> None:
    console.print(accuracy_table(title, result.dg))
    lines = figure_lines(result.dg)
    if result.drop is not None:
        lines.append(drop_line(result.drop))
    for line in lines:
        console.print(plain(line))


def accuracy_table(title: str, dg: DGResult) -> Table:
    """Draw the accuracy on every domain; what was held out comes first and stands out."""
    from rich.table import Table

    from edgeprune.selection import ORACLE

    what = plain(f"{title}, {dg.dataset} split by {dg.split.by}", "table.title")
    table = Table(title=what, title_justify="left")
    if dg.selection == "oracle":
        table.caption = ORACLE
        table.caption_justify = "left"
    table.add_column("domain")
    for name in ("accuracy", "95 % interval", "images"):
        table.add_column(name, justify="right")
    sources = [name for name in dg.domains if name not in dg.held_out]
    for name in dg.held_out:
        table.add_row(plain(f"{name} (held out)"), *_cells(dg.domains[name]), style="bold")
    if len(dg.held_out) > 1:
        low, high = dg.target_interval or (None, None)
        interval = "" if low is None or high is None else f"{low:.1f} to {high:.1f}"
        mean = f"{dg.target_accuracy:.1f} %"
        table.add_row("mean of those held out", mean, interval, "", style="bold")
    table.add_section()
    for name in sources:
        table.add_row(plain(name), *_cells(dg.domains[name]))
    if len(sources) > 1:
        table.add_section()
        table.add_row("all sources", f"{dg.source_val_accuracy:.1f} %", "", "")
    return table


def figure_lines(dg: DGResult) -> list[str]:
    """Say what else was computed, as one line each."""
    lines = []
    if dg.class_accuracy and dg.balanced_accuracy is not None:
        found = [(value, name) for name, value in dg.class_accuracy.items() if value is not None]
        low, name = min(found)
        lines.append(
            f"on {dg.target}: {dg.balanced_accuracy:.1f} % balanced over the classes,"
            f" lowest {low:.1f} % ({name})"
        )
    if dg.calibration_error is not None:
        lines.append(f"calibration error on {dg.target}: {dg.calibration_error:.1f} %")
    if dg.worst_domain is not None:
        lines.append(f"worst domain: {dg.worst_domain.name}, {dg.worst_domain.accuracy:.1f} %")
    return lines


def drop_line(drop: Drop) -> str:
    """Say what was lost against the dense model."""
    from edgeprune.reporting.wording import points, points_interval

    return (
        f"against {drop.against}: {points(drop.points)} points (95 % interval"
        f" {points_interval(drop.ci95)}, paired by {drop.resampled});"
        f" {drop.flipped:.1f} % of {drop.n} answers flipped"
    )


def _cells(found: DomainAccuracy) -> tuple[str, str, str]:
    low, high = found.ci95
    return f"{found.accuracy:.1f} %", f"{low:.1f} to {high:.1f}", str(found.n)
