"""``edgeprune export``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import app, engine_options, options
from edgeprune.cli.render import plain, quiet_stdout, show
from edgeprune.errors import UsageError, one_of
from edgeprune.files import check_output_directory

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.exporting import Labelled
    from edgeprune.exporting.parity import Probe
    from edgeprune.model import Model
    from edgeprune.progress import Progress
    from edgeprune.schema import ExportedFile, ExportResult

# As edgeprune.exporting.settings has them; heavy modules are imported when the work begins.
PRECISIONS = ("fp32", "fp16", "int8")
FP32 = ("fp32",)

# Options that do nothing without --data, and those that do nothing without int8.
ABOUT_DATA = ("target", "split", "images_per_domain")
ABOUT_INT8 = ("int8", "calibration", "runtime", "samples")


@app.command("export")
def command(
    context: typer.Context,
    model: options.Model,
    output: options.OptionalOutput = None,
    hub: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write a folder for a model hub there instead: artifact, ONNX files, model card.",
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="For the model card. Default: as recorded of the base weights."
        ),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write ONNX files.")] = False,
    tensorrt: engine_options.TensorRT = False,
    precision: Annotated[
        list[str], typer.Option(help="fp32, fp16 or int8; give it again for another file.")
    ] = list(FP32),  # noqa: B006
    opset: Annotated[
        int, typer.Option(help="ONNX operator set, 18 to 23; 13 to 17 for TensorRT before 8.6.")
    ] = 18,
    batch: Annotated[str, typer.Option(help="'dynamic', or one fixed size.")] = "dynamic",
    io: Annotated[
        str, typer.Option(help="Type of the input and output of the fp16 file: fp32 or fp16.")
    ] = "fp32",
    pixels: Annotated[
        bool,
        typer.Option(
            "--with-preprocessing",
            help="Take RGB images of 8 bits, NHWC, and normalise them in the graph.",
        ),
    ] = False,
    optimize: Annotated[
        bool,
        typer.Option("--optimize", help="Write the graph as ONNX Runtime has optimised it."),
    ] = False,
    int8: Annotated[
        str,
        typer.Option(help="static: ranges from calibration images; dynamic: from every batch."),
    ] = "static",
    calibration: Annotated[
        str, typer.Option(help="How ranges are chosen: minmax, percentile or entropy.")
    ] = "minmax",
    runtime: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="What int8 is for: cpu, cpu-avx2 (x86 without VNNI) or tensorrt. Default: cpu;"
            " with --tensorrt: tensorrt.",
        ),
    ] = None,
    round_to: Annotated[
        int,
        typer.Option(metavar="N", help="Refuse widths that are no multiples of this. Default: 1."),
    ] = 1,
    max_drop: Annotated[
        float,
        typer.Option(help="Points on source validation that fp16 and int8 may lose."),
    ] = 0.5,
    samples: Annotated[int, typer.Option(min=1, help="Calibration images for int8.")] = 128,
    builder: engine_options.Builder = None,
    sm: engine_options.Sm = None,
    max_batch: engine_options.MaxBatch = None,
    opt_batch: engine_options.OptBatch = None,
    workspace: engine_options.Workspace = None,
    timing_cache: engine_options.TimingCache = None,
    data: options.Data = None,
    target: options.Target = None,
    split: options.Split = None,
    images_per_domain: Annotated[
        int | None,
        typer.Option(min=1, help="Score at most this many images of a domain; default all."),
    ] = None,
    num_classes: options.NumClasses = None,
    img_size: options.ImgSize = None,
    pretrained: options.Pretrained = True,
    weights: options.Weights = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    json_: options.Json = False,
) -> None:
    """Write ONNX files that are proved against PyTorch, and TensorRT engines built from them.

    Both sides run on random images, and on real ones from --data (or from the embedded emoji
    where they are installed). With --data, fp16 and int8 are judged by their accuracy on every
    domain; int8 needs it.

    With --tensorrt alone, the ONNX files are made and proved as well, but not kept. Engines are
    compared with PyTorch where they can be run.
    """
    if hub and tensorrt:
        raise UsageError("an engine fits one kind of GPU; a folder for a hub has none: --onnx")
    if not (onnx or tensorrt or hub):
        raise UsageError("export needs a format: --onnx or --tensorrt")
    folder = _folder(output, hub, licence)
    for name in precision:
        one_of(name, "precision", PRECISIONS)
    if "int8" not in precision and (given := options.given(context, ABOUT_INT8)):
        raise UsageError(f"{given[0]} is about int8 files; it needs --precision int8")
    if int8 == "dynamic" and options.given(context, ("calibration",)):
        raise UsageError("--calibration chooses ranges of static int8; --int8 dynamic has none")
    if data is None and (given := options.given(context, ABOUT_DATA)):
        raise UsageError(f"{given[0]} is about images to judge by; it needs --data ROOT")
    if "int8" in precision and data is None:
        raise UsageError(
            "int8 needs images to be calibrated on and judged by: --data ROOT, or --data emoji"
        )
    fixed = _batch(batch)
    engine = engine_options.settings(
        tensorrt, builder, sm, max_batch, opt_batch, workspace, timing_cache
    )
    made_for = runtime or ("tensorrt" if tensorrt else "cpu")
    check_output_directory(folder, force=force)
    with quiet_stdout():
        from edgeprune.exporting import ExportSettings, Int8Settings, export, export_hub
        from edgeprune.loading import load_only
        from edgeprune.model import DenseOptions
        from edgeprune.progress import TerminalProgress

        settings = ExportSettings(
            precisions=tuple(precision),
            opset=opset,
            batch=fixed,
            io=io,
            pixels=pixels,
            optimize=optimize,
            int8=Int8Settings(int8, calibration, made_for, max_drop, samples),
            onnx=onnx or hub is not None,
            engine=engine,
            round_to=round_to,
            seed=seed,
        )
        progress = TerminalProgress()
        source = load_only(model, DenseOptions(num_classes, img_size, pretrained, weights, seed))
        judged = data is not None and (target is not None or tuple(precision) != FP32)
        write = partial(export_hub, licence=licence) if hub else export
        result = write(
            source,
            folder,
            settings,
            probes=_real_images(source, data),
            labelled=(
                _labelled(source, data, target, split, images_per_domain, progress)
                if judged and data is not None
                else None
            ),
            force=force,
            progress=progress,
        )
    show(result, json_, lambda console: _tables(console, result, folder))


def _folder(output: Path | None, hub: Path | None, licence: str | None) -> Path:
    if output and hub:
        raise UsageError(f"--output {str(output)!r} and --hub {str(hub)!r}: give one of the two")
    if licence and not hub:
        raise UsageError("--licence is for the model card of a --hub folder")
    folder = hub or output
    if folder is None:
        raise UsageError("it was not said where to write: --output DIR, or --hub DIR")
    return folder


def _batch(text: str) -> int | None:
    if text == "dynamic":
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise UsageError(f"batch {text!r} is not accepted; 'dynamic' or a number above 0 is")


def _real_images(model: Model, data: str | None) -> list[Probe]:
    """Return real images to compare on: from ``data``, else from the emoji if installed."""
    from edgeprune.domains import emoji_is_installed, open_dataset
    from edgeprune.exporting.parity import image_probe

    if data is None and not emoji_is_installed():
        return []
    return [image_probe(model, open_dataset(data or "emoji"))]


def _labelled(
    model: Model,
    data: str,
    target: str | None,
    split: str | None,
    per_domain: int | None,
    progress: Progress,
) -> Labelled:
    from edgeprune.domains import open_dataset
    from edgeprune.exporting import Labelled
    from edgeprune.training import choose_split

    dataset = open_dataset(data)
    divided = choose_split(dataset, model.record, target=target, by=split, progress=progress)
    return Labelled(dataset, divided, per_domain)


def _tables(console: Console, result: ExportResult, folder: Path) -> None:
    from rich.table import Table

    what = plain(f"{result.model}, exported in {result.seconds:.1f} s", "table.title")
    table = Table(title=what)
    for title in ("file", "precision", "opset", "MB", "max difference", "top-1 agrees", "on"):
        table.add_column(title, overflow="fold")
    for file in result.files:
        parity = file.parity
        proof = (
            (
                f"{parity.max_abs:.1e}",
                f"{parity.top1_agreement:.0f} %",
                plain(f"{parity.n} images: {', '.join(parity.inputs)}"),
            )
            if parity
            else ("not run", "not run", "")
        )
        size = file.bytes + (file.external.bytes if file.external else 0)
        name = plain(Path(file.path).name)
        table.add_row(name, file.precision, str(file.opset), f"{size / 1e6:.1f}", *proof)
    console.print(table)
    if any(file.parity and file.parity.domains for file in result.files):
        _accuracy(console, result.files)
    for file in result.files:
        _engine(console, file)
        _kept(console, file)
    for warning in result.warnings:
        console.print(plain(f"warning: {warning}", "yellow"))
    console.print(plain(f"written to {folder}"), soft_wrap=True)


def _engine(console: Console, file: ExportedFile) -> None:
    """Say what an engine is for, and what built it."""
    if file.engine is None:
        return
    own = file.engine
    target = f"GPUs of architecture {own.sm}" if own.sm else "this machine's GPU"
    proof = "" if file.parity else "; built, not run here"
    text = f"{Path(file.path).name}: {own.tensorrt}, for {target}, built by {own.builder}{proof}"
    console.print(plain(text))


def _accuracy(console: Console, files: list[ExportedFile]) -> None:
    """Show accuracy by domain, PyTorch beside every file."""
    from rich.table import Table

    proved = [(file, file.parity) for file in files if file.parity and file.parity.source_val]
    table = Table(title="Accuracy, and how often the file's answer is PyTorch's")
    table.add_column("domain")
    table.add_column("PyTorch", justify="right")
    for file, _ in proved:
        table.add_column(file.precision, justify="right")
        table.add_column("agrees", justify="right")
    first = proved[0][1]
    for domain in first.domains:
        cells = [
            cell
            for _, parity in proved
            for cell in (
                f"{parity.domains[domain].accuracy:.1f} %",
                f"{parity.domains[domain].top1_agreement:.1f} %",
            )
        ]
        held_out = " (held out)" if domain == first.target else ""
        pytorch = f"{first.domains[domain].pytorch:.1f} %"
        table.add_row(plain(f"{domain}{held_out}"), pytorch, *cells)
    pooled = [parity.source_val for _, parity in proved if parity.source_val]
    cells = [cell for own in pooled for cell in (f"{own.accuracy:.1f} %", "")]
    table.add_row("all sources", f"{pooled[0].pytorch:.1f} %", *cells)
    console.print(table)


def _kept(console: Console, file: ExportedFile) -> None:
    if not file.kept:
        return
    from rich.table import Table

    table = Table(title=f"{file.precision}: kept in fp32")
    for name in ("layer", "because of", "harm of int8, nats"):
        table.add_column(name)
    for layer in file.kept:
        harm = "" if layer.harm is None else f"{layer.harm:.2e}"
        table.add_row(plain(layer.name), plain(layer.reason), harm)
    console.print(table)
