"""``edgeprune finetune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import app, options
from edgeprune.cli.render import quiet_stdout, show
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
    split: options.Split = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training images. Default: 10.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps, instead of epochs.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images per step, over all domains.")] = 32,
    lr: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-4,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="ARTIFACT", help="Model whose logits are matched as well."),
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run, if there is one.")
    ] = False,
    warmup: Annotated[float, typer.Option(help="Share of the steps with rising rate.")] = 0.1,
    layer_decay: Annotated[
        float, typer.Option(help="Factor on the rate per block away from the classifier.")
    ] = 1.0,
    weight_decay: Annotated[float, typer.Option(help="Of linear and convolution weights.")] = 0.05,
    label_smoothing: Annotated[float, typer.Option(help="Mass spread over all classes.")] = 0.1,
    clip_norm: Annotated[float, typer.Option(help="Largest norm of the gradient.")] = 1.0,
    distill_weight: Annotated[float, typer.Option(help="Share of the teacher in the loss.")] = 0.7,
    temperature: Annotated[float, typer.Option(help="Softens the logits compared.")] = 2.0,
    eval_every: Annotated[
        int | None, typer.Option(help="Steps between evaluations. Default: five in all.")
    ] = None,
    checkpoint_every: Annotated[
        int, typer.Option(help="Steps between writes of what --resume needs.")
    ] = 100,
    num_classes: options.NumClasses = None,
    img_size: options.ImgSize = None,
    pretrained: options.Pretrained = True,
    weights: options.Weights = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    json_: options.Json = False,
) -> None:
    """Train on the source domains, score the best step on the unseen one."""
    if data is None:
        raise UsageError("finetune needs images: --data ROOT, or --data emoji")
    check_output_directory(output, force=force)
    with quiet_stdout():
        from edgeprune.domains import leave_one_out, open_dataset
        from edgeprune.loading import load_model
        from edgeprune.model import DenseOptions
        from edgeprune.progress import TerminalProgress
        from edgeprune.training import FinetuneSettings, finetune
        from edgeprune.training.compute import open_device
        from edgeprune.training.processes import open_processes

        settings = FinetuneSettings(
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
            eval_every=eval_every,
            checkpoint_every=checkpoint_every,
            precision=precision,
            device=device,
            seed=seed,
        )
        open_device(device, precision)
        processes = open_processes(settings)
        dataset = open_dataset(data)
        if target is None:
            raise UsageError(
                "finetune needs the domain to hold out: --target DOMAIN;"
                f" accepted: {', '.join(dataset.domains)}"
            )
        divided = leave_one_out(dataset, target, by=split, seed=seed)
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

    from edgeprune.cli.evaluate import accuracy_table

    history = Table(title=f"{result.model}: {result.steps} steps", title_justify="left")
    for name in ("step", "loss", "source validation"):
        history.add_column(name, justify="right")
    for point in result.history:
        best = "bold" if point.step == result.best_step else None
        cells = (str(point.step), f"{point.loss:.3f}", f"{point.source_val:.1f} %")
        history.add_row(*cells, style=best)
    console.print(history)
    console.print(accuracy_table(f"Accuracy of step {result.best_step}", result.dg))
    seconds = result.seconds
    console.print(
        f"{seconds.total:.1f} s (training {seconds.train:.1f} s, evaluation"
        f" {seconds.evaluate:.1f} s); written to {result.artifact}",
        highlight=False,
        markup=False,
    )
