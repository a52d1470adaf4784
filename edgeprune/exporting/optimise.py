"""The graph as ONNX Runtime has optimised it: merged operators, for ONNX Runtime alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
from onnxscript import ir

from edgeprune.errors import DiskFullError
from edgeprune.exporting.onnx import external_file, write


def optimise(path: Path, facts: dict[str, str]) -> Path | None:
    """Replace an ONNX file by its optimised form.

    At the level "extended": what depends on the instructions of this CPU, the order of numbers in
    memory, is left to the machine that loads the file. Widths are read from the graph, so pruned
    heads of any number and size are merged or left, never mistaken.

    Args:
        path: the file.
        facts: its metadata, which ONNX Runtime does not keep.

    Returns:
        The file with the weights, or None if they are in the model file.

    Raises:
        OutputError: if the disk is full.
    """
    written = path.with_name("optimised.onnx")
    weights = external_file(written)
    _check_room(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(written)
    # ONNX Runtime makes one message of all weights that it is not told to keep outside
    entry = "session.optimized_model_external_initializers_file_name"
    options.add_session_config_entry(entry, weights.name)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = ir.load(written)
    for value in found.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value = _read_when_written(value.const_value)
    external_file(path).unlink(missing_ok=True)
    external = write(found, path, facts)
    written.unlink()
    weights.unlink(missing_ok=True)
    return external


def _read_when_written(kept: ir.ExternalTensor) -> ir.LazyTensor:
    """Return a weight that is in memory only while it is written to another file."""

    def read() -> ir.TensorProtocol:
        array = np.array(kept.numpy())
        kept.release()
        return ir.tensor(array, dtype=kept.dtype)

    return ir.LazyTensor(read, kept.dtype, kept.shape, name=kept.name)


def _check_room(path: Path) -> None:
    """Check that there is room for a second copy; ONNX Runtime does not say that there was none."""
    outside = external_file(path)
    needed = path.stat().st_size + (outside.stat().st_size if outside.exists() else 0)
    if shutil.disk_usage(path.parent).free < needed:
        raise DiskFullError(
            f"no space left on the disk for the optimised form of {path.name!r}"
            f" ({needed / 1e6:.0f} MB)"
        )
