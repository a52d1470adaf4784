"""``edgeprune prune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import app, options
from edgeprune.cli.render import quiet_stdout, show
from edgeprune.errors import UsageError
from edgeprune.figures import count
from edgeprune.files import check_output_directory

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.model import Model
    from edgeprune.progress import Progress
    from edgeprune.pruning import Calibration
    from edgeprune.schema import PruneResult


@app.command("prune")
def command(
    model: options.Model,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Output directory; new or empty."),
    ] = None,
    ratio: Annotated[
        float, typer.Option(help="Share to remove of what --budget names; above 0, below 1.")
    ] = 0.5,
    budget: Annotated[
        str, typer.Option(help="channels (width of every dimension), params or macs.")
    ] = "channels",
    metric: Annotated[
        str | None,
        typer.Option(
            help="random, l1, l2; with --data also taylor, hessian."
            " Default: hessian with --data, else l1."
        ),
    ] = None,
    scope: Annotated[
        str,
        typer.Option(
            help="global (layers compete), isomorphic (within each kind of dimension) or local"
            " (the same share in every layer)."
        ),
    ] = "global",
    dims: Annotated[
        str, typer.Option(help="Dimensions to prune, of embed, heads, head_dim, mlp.")
    ] = "embed,heads,mlp",
    round_to: Annotated[int, typer.Option(help="Widths become multiples of this.")] = 8,
    max_ratio: Annotated[
        float, typer.Option(help="Largest share removed from one dimension of one layer.")
    ] = 1.0,
    steps: Annotated[int, typer.Option(help="Rounds; each scores anew.")] = 1,
    reconstruct: Annotated[
        bool | None,
        typer.Option(
            "--reconstruct/--no-reconstruct",
            help="Repair in closed form what the cut breaks. Default: with --data.",
        ),
    ] = None,
    data: options.Data = None,
    target: options.Target = None,
    split: options.Split = None,
    samples: Annotated[int, typer.Option(help="Calibration images, source domains only.")] = 256,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, write nothing.")
    ] = False,
    num_classes: options.NumClasses = None,
    img_size: options.ImgSize = None,
    pretrained: options.Pretrained = True,
    weights: options.Weights = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    json_: options.Json = False,
) -> None:
    """Remove the least useful channels, heads and neurons."""
    if output is None and not dry_run:
        raise UsageError("prune needs an output directory: -o DIR (or --dry-run)")
    if output is not None and not dry_run:
        check_output_directory(output, force=force)
    if (data is None) != (target is None):
        raise UsageError("--data and --target go together: calibration uses the other domains")
    with quiet_stdout():
        from edgeprune import artifact
        from edgeprune.loading import load_model
        from edgeprune.model import DenseOptions
        from edgeprune.progress import TerminalProgress
        from edgeprune.pruning import PruneSettings, prune
        from edgeprune.pruning.metrics import get_metric, require_data

        settings = PruneSettings(
            ratio=ratio,
            budget=budget,
            metric=metric or ("hessian" if data else "l1"),
            scope=scope,
            dims=tuple(name.strip() for name in dims.split(",") if name.strip()),
            round_to=round_to,
            max_ratio=max_ratio,
            steps=steps,
            reconstruct=data is not None if reconstruct is None else reconstruct,
            seed=seed,
        )
        require_data(get_metric(settings.metric), data is not None)
        progress = TerminalProgress()
        source = load_model(model, DenseOptions(num_classes, img_size, pretrained, weights, seed))
        calibration = None
        if data is not None and target is not None:
            calibration = _calibration(source, data, target, split, samples, seed, progress)
        pruned = prune(source, settings, calibration=calibration, progress=progress)
        result = pruned.result
        if output is not None and not dry_run:
            artifact.save(pruned.model, output, force=force)
            result = result.model_copy(update={"artifact": str(output)})
    show(result, json_, lambda console: _table(console, result))


def _calibration(
    model: Model,
    data: str,
    target: str,
    split: str | None,
    samples: int,
    seed: int,
    progress: Progress,
) -> Calibration:
    from edgeprune.domains import leave_one_out, open_dataset
    from edgeprune.model import check_classes
    from edgeprune.pruning import calibrate

    dataset = open_dataset(data)
    divided = leave_one_out(dataset, target, by=split, seed=seed)
    check_classes(model, dataset.classes)
    return calibrate(
        dataset, divided, model.preprocess, samples=samples, seed=seed, progress=progress
    )


def _table(console: Console, result: PruneResult) -> None:
    from rich.table import Table

    title = f"{result.model}: {result.ratio:.0%} of {result.budget} removed, {result.metric}"
    table = Table(title=title, title_justify="left")
    for name, justify in (("", "left"), ("before", "right"), ("after", "right"), ("", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for label, before, after in (
        ("parameters", result.dense.params, result.pruned.params),
        ("MACs", result.dense.macs, result.pruned.macs),
    ):
        table.add_row(label, count(before), count(after), f"{before / after:.2f}x fewer")
    for dim in dict.fromkeys(layer.dim for layer in result.layers):
        layers = [layer for layer in result.layers if layer.dim == dim]
        table.add_row(
            f"{dim} ({len(layers)} layers)" if len(layers) > 1 else dim,
            _span([layer.before for layer in layers]),
            _span([layer.after for layer in layers]),
            "" if any(layer.before != layer.after for layer in layers) else "unchanged",
        )
    console.print(table)
    for warning in result.warnings:
        console.print(f"[yellow]note[/]: {warning}", highlight=False)
    seconds = result.seconds
    console.print(
        f"{seconds.total:.1f} s (scoring {seconds.score:.1f} s)"
        + (f"; written to {result.artifact}" if result.artifact else "; nothing written"),
        highlight=False,
    )


def _span(widths: list[int]) -> str:
    low, high = min(widths), max(widths)
    return str(low) if low == high else f"{low} to {high}"
