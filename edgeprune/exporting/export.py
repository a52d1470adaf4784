"""``edgeprune export``: write the files, prove them, or leave nothing behind."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxscript import ir

from edgeprune.errors import UsageError
from edgeprune.exporting import engines
from edgeprune.exporting.accuracy import Answers, Labelled, answers
from edgeprune.exporting.fp16 import beyond_half, to_half
from edgeprune.exporting.observation import largest_values
from edgeprune.exporting.onnx import external_file, metadata, trace, write
from edgeprune.exporting.optimise import optimise
from edgeprune.exporting.parity import Probe, extreme_probe, prove, random_probe
from edgeprune.exporting.preprocessing import take_pixels
from edgeprune.exporting.quantisation import quantise
from edgeprune.exporting.rounding import check_rounding
from edgeprune.exporting.settings import ExportSettings
from edgeprune.files import output_directory, sha256
from edgeprune.model import Model
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import ExportedFile, ExportResult, ExternalData, Int8Facts, KeptLayer

INPUT_TYPES = {
    ir.DataType.FLOAT: "fp32",
    ir.DataType.FLOAT16: "fp16",
    ir.DataType.UINT8: "uint8",
}


@dataclass(frozen=True)
class _Made:
    """A model in one precision, and what there is to say about it."""

    found: ir.Model
    kept: list[KeptLayer]
    int8: Int8Facts | None = None


def export(
    model: Model,
    output: Path,
    settings: ExportSettings | None = None,
    *,
    probes: Sequence[Probe] = (),
    labelled: Labelled | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> ExportResult:
    """Export ``model`` into the directory ``output``, one file per precision, each proved.

    The files are ``model.onnx``, ``model.fp16.onnx`` and ``model.int8.onnx``. Where engines are
    asked for, ``model.PRECISION.engine`` is built of each, with a record beside it.

    Args:
        model: any model.
        output: directory, new or empty.
        settings: precisions, and how files are made.
        probes: real images to compare on, besides random ones.
        labelled: images to calibrate int8 on, and to judge every file by.
        force: replace ``output`` if it is not empty.
        progress: where to say what is being done.

    Raises:
        CheckError: if a file does not compute what the model computes, or is not as accurate as
            was asked; ``output`` is then not written.
        EngineError: if TensorRT refuses a file, or builds nothing of it.
        UnavailableError: if no builder of engines works here.
        UsageError: if int8 is asked for without labelled images.
        ModelError: if a width is not rounded as ``settings`` ask for.
        OutputError: if ``output`` cannot be written.
    """
    chosen = settings or ExportSettings()
    if "int8" in chosen.precisions and labelled is None:
        raise UsageError(
            "int8 needs images: to be calibrated on, and to be judged by",
            hint="--data ROOT, and --target DOMAIN where the artifact does not know it",
        )
    check_rounding(model.record, chosen.round_to)
    started = time.perf_counter()
    planned = engines.plan(chosen.engine, chosen.batch, progress) if chosen.engine else None
    with output_directory(output, force=force) as scratch:
        progress.say(f"exporting {model.record.model} to ONNX")
        base = trace(model, opset=chosen.opset, batch=chosen.batch)
        expected = answers(model, labelled, progress) if labelled else None
        shown = [random_probe(model), *probes]
        files = []
        for precision in chosen.precisions:
            made = _in_precision(precision, model, base, chosen, shown, expected, progress)
            written = _write_and_prove(
                precision, made, model, scratch, output, chosen, shown, expected, progress
            )
            if chosen.onnx:
                files.append(written)
            if planned:
                files.append(
                    engines.build(
                        planned,
                        model,
                        scratch / file_name(precision),
                        written,
                        output,
                        shown,
                        expected,
                        chosen.int8.max_drop,
                        progress,
                    )
                )
            if not chosen.onnx:
                _remove_onnx(scratch / file_name(precision))
    told = [text for file in files if file.engine for text in file.engine.warnings]
    return ExportResult(
        model=model.record.model,
        files=files,
        seconds=time.perf_counter() - started,
        warnings=list(dict.fromkeys(told)),
    )


def file_name(precision: str) -> str:
    """Return the name of the file of a precision."""
    return "model.onnx" if precision == "fp32" else f"model.{precision}.onnx"


def _in_precision(
    precision: str,
    model: Model,
    base: ir.Model,
    chosen: ExportSettings,
    probes: Sequence[Probe],
    expected: Answers | None,
    progress: Progress,
) -> _Made:
    if precision == "int8":
        assert expected is not None
        found, kept, facts = quantise(
            model, base, expected, chosen.int8, seed=chosen.seed, progress=progress
        )
        return _Made(found, kept, facts)
    found = base.clone()
    if precision == "fp32":
        return _Made(found, [])
    progress.say("looking for numbers that fp16 cannot hold")
    images = [probe.images for probe in (*probes, extreme_probe(model))]
    beyond = beyond_half(base, largest_values(base, images))
    to_half(found, beyond, chosen.io)
    return _Made(found, [KeptLayer(name=name, reason="range") for name in sorted(beyond)])


def _write_and_prove(
    precision: str,
    made: _Made,
    model: Model,
    scratch: Path,
    output: Path,
    chosen: ExportSettings,
    probes: Sequence[Probe],
    expected: Answers | None,
    progress: Progress,
) -> ExportedFile:
    path = scratch / file_name(precision)
    if chosen.pixels:
        take_pixels(made.found, model.preprocess)
    takes = INPUT_TYPES[made.found.graph.inputs[0].dtype or ir.DataType.FLOAT]
    facts = metadata(model, precision) | {
        "edgeprune.input": json.dumps(
            {"type": takes, "layout": "NHWC" if chosen.pixels else "NCHW"}
        ),
        "edgeprune.kept_fp32": json.dumps([layer.name for layer in made.kept]),
    }
    if made.int8:
        facts["edgeprune.int8"] = made.int8.model_dump_json()
    external = write(made.found, path, facts)
    if chosen.optimize:
        external = optimise(path, facts)
    progress.say(f"comparing {path.name} with PyTorch")
    shown = probes if precision == "fp32" else [*probes, extreme_probe(model)]
    parity = prove(
        model,
        path,
        shown,
        precision=precision,
        expected=expected,
        max_drop=chosen.int8.max_drop,
        progress=progress,
    )
    return ExportedFile(
        path=str(output / path.name),
        format="onnx",
        precision=precision,
        opset=chosen.opset,
        bytes=path.stat().st_size,
        sha256=sha256(path),
        parity=parity,
        verified="parity",
        input=takes,
        optimized=chosen.optimize,
        external=_external(external, output) if external else None,
        int8=made.int8,
        kept=made.kept,
    )


def _remove_onnx(path: Path) -> None:
    path.unlink()
    external_file(path).unlink(missing_ok=True)


def _external(path: Path, output: Path) -> ExternalData:
    return ExternalData(
        path=str(output / path.name), bytes=path.stat().st_size, sha256=sha256(path)
    )
