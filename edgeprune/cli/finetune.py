"""``edgeprune finetune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import app, options
from edgeprune.cli.render import plain, quiet_stdout, show
from edgeprune.errors import UsageError
from edgeprune.files import check_output_directory

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.schema import FinetuneResult


@app.command("finetune")
def command(
    model: options.Model,
    output: options.Output,
    data: options.Data = None,
    target: options.Target = None,
    source: options.Source = None,
    split: options.Split = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_FILE",
            help="Settings from 'edgeprune recipes list', or a .toml file; options given here win.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training images. Default: 10.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps, instead of epochs.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images per step, over all domains. Default: 32.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate. Default: 1e-4.")] = None,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="ARTIFACT", help="Model whose logits are matched as well."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, bf16 or fp16. Default: fp32.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: cpu.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run, if there is one.")
    ] = False,
    warmup: Annotated[
        float | None, typer.Option(help="Share of the steps with rising rate. Default: 0.1.")
    ] = None,
    layer_decay: Annotated[
        float | None,
        typer.Option(help="Factor on the rate per block away from the classifier. Default: 1.0."),
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Of linear and convolution weights. Default: 0.05.")
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Mass spread over all classes. Default: 0.1.")
    ] = None,
    clip_norm: Annotated[
        float | None, typer.Option(help="Largest norm of the gradient. Default: 1.0.")
    ] = None,
    distill_weight: Annotated[
        float | None, typer.Option(help="Share of the teacher in the loss. Default: 0.7.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Softens the logits compared. Default: 2.0.")
    ] = None,
    mixup: Annotated[
        float | None,
        typer.Option(
            metavar="ALPHA", help="Mix images and labels by shares from Beta. Default: 0.0."
        ),
    ] = None,
    drop_path: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="Stochastic depth, of the last block. Default: 0.0."),
    ] = None,
    average: Annotated[
        str | None, typer.Option(help="Of the weights: none, ema or swad. Default: none.")
    ] = None,
    ema_decay: Annotated[
        float | None, typer.Option(help="Highest decay of the moving average. Default: 0.999.")
    ] = None,
    eval_every: Annotated[
        int | None,
        typer.Option(help="Steps between evaluations. Default: five in all, fifty with swad."),
    ] = None,
    selection: Annotated[
        str | None,
        typer.Option(
            help="Which step is kept: the best on source validation ('source'), the 'last', or the"
            " best on the target itself ('oracle'; marked in every result). Default: source."
        ),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(help="Steps between writes of what --resume needs. Default: 100."),
    ] = None,
    num_classes: options.NumClasses = None,
    img_size: options.ImgSize = None,
    pretrained: options.Pretrained = True,
    weights: options.Weights = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    json_: options.Json = False,
) -> None:
    """Train on the source domains, score the best step on the unseen ones."""
    if data is None:
        raise UsageError("finetune needs images: --data ROOT, or --data emoji")
    check_output_directory(output, force=force)
    with quiet_stdout():
        from edgeprune.domains import divide, open_dataset
        from edgeprune.loading import load_model
        from edgeprune.model import DenseOptions
        from edgeprune.progress import TerminalProgress
        from edgeprune.training import finetune
        from edgeprune.training.compute import open_device
        from edgeprune.training.processes import open_processes
        from edgeprune.training.recipes import NONE, load_recipe

        chosen = load_recipe(recipe) if recipe else NONE
        settings = chosen.with_given(
            steps=steps,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            warmup_share=warmup,
            layer_decay=layer_decay,
            weight_decay=weight_decay,
            label_smoothing=label_smoothing,
            clip_norm=clip_norm,
            distill_weight=distill_weight,
            temperature=temperature,
            mixup=mixup,
            drop_path=drop_path,
            average=average,
            ema_decay=ema_decay,
            eval_every=eval_every,
            selection=selection,
            checkpoint_every=checkpoint_every,
            precision=precision,
            device=device,
            seed=seed,
        )
        open_device(settings.device, settings.precision)
        processes = open_processes(settings)
        dataset = open_dataset(data)
        divided = divide(dataset, target=target, source=source, by=split, seed=seed)
        dense = DenseOptions(num_classes, img_size, pretrained, weights, seed)
        result = finetune(
            load_model(model, dense),
            dataset,
            divided,
            settings,
            output=output,
            teacher=load_model(teacher, dense) if teacher else None,
            resume=resume,
            force=force,
            progress=TerminalProgress(),
        )
    if processes.is_main:
        show(result, json_, lambda console: _table(console, result))


def _table(console: Console, result: FinetuneResult) -> None:
    from rich.table import Table

    from edgeprune.cli.evaluate import accuracy_table, figure_lines

    title = plain(f"{result.model}: {result.steps} steps", "table.title")
    history = Table(title=title, title_justify="left")
    oracle = result.dg.selection == "oracle"
    for name in ("step", "loss", "source validation", *(["target"] if oracle else [])):
        history.add_column(name, justify="right")
    for point in result.history:
        best = "bold" if point.step == result.best_step and not result.averaged_steps else None
        cells = [str(point.step), f"{point.loss:.3f}", f"{point.source_val:.1f} %"]
        if point.target is not None:
            cells.append(f"{point.target:.1f} %")
        history.add_row(*cells, style=best)
    console.print(history)
    steps = result.averaged_steps
    what = f"the average of steps {steps[0]} to {steps[1]}" if steps else f"step {result.best_step}"
    console.print(accuracy_table(f"Accuracy of {what}", result.dg))
    for line in figure_lines(result.dg):
        console.print(plain(line))
    seconds = result.seconds
    console.print(
        plain(
            f"{seconds.total:.1f} s (training {seconds.train:.1f} s, evaluation"
            f" {seconds.evaluate:.1f} s); written to {result.artifact}"
        )
    )
