"""``edgeprune prune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import app, options
from edgeprune.cli.prune_table import table
from edgeprune.cli.render import quiet_stdout, show
from edgeprune.errors import UsageError
from edgeprune.files import check_apart, check_output_directory, check_output_file

# Options that a plan file stands for.
DECIDED_BY_A_PLAN = (
    "ratio",
    "budget",
    "scope",
    "cost",
    "dims",
    "round_to",
    "max_ratio",
    "steps",
    "recover_steps",
    "profile",
    "threads",
)

# Options that say which calibration images are looked at.
ABOUT_DATA = ("samples", "reconstruct_samples", "split")


@app.command("prune")
def command(
    context: typer.Context,
    model: options.Model,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Output directory; new or empty."),
    ] = None,
    ratio: Annotated[
        float, typer.Option(help="Share to remove of what --budget names; above 0, below 1.")
    ] = 0.5,
    budget: Annotated[
        str,
        typer.Option(
            help="channels (width of every dimension), params, macs, or latency (measured here)."
        ),
    ] = "channels",
    metric: Annotated[
        str | None,
        typer.Option(
            help="random, l1, l2, lamp, fpgm; with --data also activation, taylor, hessian; with"
            " several source domains also dg_mean, dg_min, dg_mean_std, dg_rank."
            " Default: hessian with --data, else l1."
        ),
    ] = None,
    dg_lambda: Annotated[
        float | None,
        typer.Option(
            help="Weight of the spread over source domains in dg_mean_std; 0 or more. Default: 1."
        ),
    ] = None,
    scope: Annotated[
        str,
        typer.Option(
            help="global (layers compete), isomorphic (within each kind of dimension) or local"
            " (the same share in every layer)."
        ),
    ] = "global",
    cost: Annotated[
        str | None,
        typer.Option(
            help="What weighs a unit in a global ranking: macs, params or none."
            " Default: the budget's own."
        ),
    ] = None,
    dims: Annotated[
        str,
        typer.Option(
            help="Dimensions to prune, of embed, heads, head_dim, mlp, blocks (whole blocks)."
        ),
    ] = "embed,heads,mlp",
    round_to: Annotated[int, typer.Option(help="Widths become multiples of this.")] = 8,
    max_ratio: Annotated[
        float, typer.Option(help="Largest share removed from one dimension of one layer.")
    ] = 1.0,
    steps: Annotated[int, typer.Option(help="Rounds; each scores anew.")] = 1,
    recover_steps: Annotated[
        int, typer.Option(help="Training steps between rounds; needs --data.")
    ] = 0,
    reconstruct: Annotated[
        bool | None,
        typer.Option(
            "--reconstruct/--no-reconstruct",
            help="Repair in closed form what the cut breaks. Default: with --data.",
        ),
    ] = None,
    data: options.Data = None,
    target: options.Target = None,
    source: options.Source = None,
    split: options.Split = None,
    samples: Annotated[int, typer.Option(help="Calibration images, source domains only.")] = 256,
    reconstruct_samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images for --reconstruct. Default: as --samples, more where an image has few"
            " tokens.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Device of a latency budget; must be this machine. Default: cpu."
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(help="Compute threads while a latency budget is measured.")
    ] = 1,
    plan: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Apply a saved plan instead of a ratio and budget."),
    ] = None,
    save_plan: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the plan as JSON; its 'after' may be edited."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, write no artifact.")
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
    if save_plan is not None:
        check_output_file(save_plan)
        check_apart([save_plan], [plan, weights])
    if plan is not None:
        _refuse_beside_a_plan(context)
    if data is None and (given := options.given(context, ABOUT_DATA)):
        raise UsageError(f"{given[0]} is about calibration images: --data ROOT --target DOMAIN")
    if data is None and (target, source) != (None, None):
        raise UsageError("--target and --source say which images of --data ROOT calibrate")
    with quiet_stdout():
        from edgeprune import artifact, pruning
        from edgeprune.domains import divide, open_dataset
        from edgeprune.loading import load_only
        from edgeprune.model import DenseOptions, check_classes
        from edgeprune.progress import TerminalProgress
        from edgeprune.pruning.metrics import get_metric, require_data

        saved = pruning.read_plan(plan) if plan is not None else None
        default = saved.metric if saved else "hessian" if data is not None else "l1"
        settings = pruning.PruneSettings(
            ratio=saved.ratio if saved else ratio,
            budget=saved.budget if saved else budget,
            metric=metric if metric is not None else default,
            dg_lambda=dg_lambda,
            scope=saved.scope if saved else scope,
            cost=cost,
            dims=tuple(saved.dims) if saved else _names(dims),
            round_to=round_to,
            max_ratio=max_ratio,
            steps=steps,
            recover_steps=recover_steps,
            reconstruct=data is not None if reconstruct is None else reconstruct,
            profile=profile,
            threads=threads,
            planned=saved is not None,
            seed=seed,
        )
        require_data(get_metric(settings.metric), data is not None)
        # A bar that redraws by itself would compete with what is measured.
        progress = TerminalProgress(live=settings.budget != "latency")
        loaded = load_only(model, DenseOptions(num_classes, img_size, pretrained, weights, seed))
        widths = pruning.widths_of(saved, loaded) if saved else None
        calibration = reconstruction = recovery = None
        if data is not None:
            dataset = open_dataset(data)
            divided = divide(dataset, target=target, source=source, by=split, seed=seed)
            check_classes(loaded, dataset.classes)
            calibration = pruning.calibrate(
                dataset, divided, loaded.preprocess, samples=samples, seed=seed, progress=progress
            )
            if settings.reconstruct:
                wanted = reconstruct_samples or pruning.reconstruction_samples(
                    loaded.module, loaded.record.img_size, samples
                )
                reconstruction = pruning.calibrate(
                    dataset, divided, loaded.preprocess, samples=wanted, seed=seed
                )
            if recover_steps:
                recovery = pruning.recovery(
                    loaded, divided, steps=recover_steps, seed=seed, progress=progress
                )
        pruned = pruning.prune(
            loaded,
            settings,
            calibration=calibration,
            reconstruction=reconstruction,
            recovery=recovery,
            widths=widths,
            progress=progress,
        )
        result = pruned.result
        if output is not None and not dry_run:
            artifact.save(pruned.model, output, force=force)
            result = result.model_copy(update={"artifact": str(output)})
        if save_plan is not None:
            pruning.save_plan(result, pruned.model.record, save_plan)
    show(result, json_, lambda console: table(console, result))


def _refuse_beside_a_plan(context: typer.Context) -> None:
    """Refuse options that decide what a plan has decided.

    Raises:
        UsageError: naming the first that was given.
    """
    if given := options.given(context, DECIDED_BY_A_PLAN):
        raise UsageError(
            f"{given[0]} and --plan contradict each other: the plan says how wide every layer is",
            hint="edit 'after' in the plan, or make another with --dry-run --save-plan FILE",
        )


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
