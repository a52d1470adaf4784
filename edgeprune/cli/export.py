"""``edgeprune export``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import app, options
from edgeprune.cli.render import quiet_stdout, show
from edgeprune.errors import UnavailableError, UsageError, one_of
from edgeprune.files import check_output_directory

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.exporting.parity import Probe
    from edgeprune.model import Model
    from edgeprune.schema import ExportResult


@app.command("export")
def command(
    model: options.Model,
    output: options.Output,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx.")] = False,
    tensorrt: Annotated[
        bool, typer.Option("--tensorrt", help="Not part of this version; export --onnx.")
    ] = False,
    precision: Annotated[str, typer.Option(help="fp32.")] = "fp32",
    opset: Annotated[int, typer.Option(help="ONNX operator set, 18 to 23.")] = 18,
    batch: Annotated[str, typer.Option(help="'dynamic', or one fixed size.")] = "dynamic",
    data: options.Data = None,
    num_classes: options.NumClasses = None,
    img_size: options.ImgSize = None,
    pretrained: options.Pretrained = True,
    weights: options.Weights = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    json_: options.Json = False,
) -> None:
    """Write an ONNX file that is proved against PyTorch.

    Both sides run on random images, and on real ones from --data (or from the embedded emoji
    where they are installed).
    """
    if tensorrt:
        raise UnavailableError(
            "TensorRT engines are not part of this version", hint="trtexec takes the ONNX file"
        )
    if not onnx:
        raise UsageError("export needs a format: --onnx")
    one_of(precision, "precision", ["fp32"])
    fixed = _batch(batch)
    check_output_directory(output, force=force)
    with quiet_stdout():
        from edgeprune.exporting import ExportSettings, export
        from edgeprune.loading import load_only
        from edgeprune.model import DenseOptions
        from edgeprune.progress import TerminalProgress

        source = load_only(model, DenseOptions(num_classes, img_size, pretrained, weights, seed))
        result = export(
            source,
            output,
            ExportSettings(opset=opset, batch=fixed),
            probes=_real_images(source, data),
            force=force,
            progress=TerminalProgress(),
        )
    show(result, json_, lambda console: _table(console, result))


def _batch(text: str) -> int | None:
    if text == "dynamic":
        return None
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise UsageError(f"batch {text!r} is not accepted; 'dynamic' or a number above 0 is")


def _real_images(model: Model, data: str | None) -> list[Probe]:
    """Return real images to compare on: from ``data``, else from the emoji if installed."""
    from edgeprune.domains import emoji_is_installed, open_dataset
    from edgeprune.exporting.parity import image_probe

    if data is None and not emoji_is_installed():
        return []
    return [image_probe(model, open_dataset(data or "emoji"))]


def _table(console: Console, result: ExportResult) -> None:
    from rich.table import Table

    table = Table(title=f"{result.model}, exported in {result.seconds:.1f} s")
    for name in ("file", "precision", "opset", "MB", "max difference", "top-1 agrees", "on"):
        table.add_column(name, overflow="fold")
    for file in result.files:
        parity = file.parity
        proof = (
            (
                f"{parity.max_abs:.1e}",
                f"{parity.top1_agreement:.0f} %",
                f"{parity.n} images: {', '.join(parity.inputs)}",
            )
            if parity
            else ("not run", "not run", "")
        )
        megabytes = f"{file.bytes / 1e6:.1f}"
        table.add_row(file.path, file.precision, str(file.opset), megabytes, *proof)
    console.print(table)
