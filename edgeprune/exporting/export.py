"""``edgeprune export``: write the files, prove them, or leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprune.exporting.onnx import DEFAULT_OPSET, export_onnx
from edgeprune.exporting.parity import Probe, prove, random_probe
from edgeprune.files import output_directory, sha256
from edgeprune.model import Model
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import ExportedFile, ExportResult

ONNX_FILE = "model.onnx"


@dataclass(frozen=True)
class ExportSettings:
    """How to export: ONNX operator set, and a fixed batch size or None for a dynamic one."""

    opset: int = DEFAULT_OPSET
    batch: int | None = None


def export(
    model: Model,
    output: Path,
    settings: ExportSettings | None = None,
    *,
    probes: Sequence[Probe] = (),
    force: bool = False,
    progress: Progress = SILENT,
) -> ExportResult:
    """Export ``model`` into the directory ``output`` as ``model.onnx`` and prove the file.

    Args:
        model: any model.
        output: directory, new or empty.
        settings: operator set and batch.
        probes: real images to compare on, besides random ones.
        force: replace ``output`` if it is not empty.
        progress: where to say what is being done.

    Raises:
        CheckError: if the file does not compute what the model computes; ``output`` is then
            not written.
        UsageError: if a setting is out of range.
        OutputError: if ``output`` cannot be written.
    """
    chosen = settings or ExportSettings()
    started = time.perf_counter()
    with output_directory(output, force=force) as scratch:
        path = scratch / ONNX_FILE
        progress.say(f"exporting {model.record.model} to ONNX")
        export_onnx(model, path, opset=chosen.opset, batch=chosen.batch)
        progress.say("comparing the ONNX file with PyTorch")
        parity = prove(model, path, [random_probe(model), *probes])
        exported = ExportedFile(
            path=str(output / ONNX_FILE),
            format="onnx",
            precision="fp32",
            opset=chosen.opset,
            bytes=path.stat().st_size,
            sha256=sha256(path),
            parity=parity,
            verified="parity",
        )
    return ExportResult(
        model=model.record.model, files=[exported], seconds=time.perf_counter() - started
    )
