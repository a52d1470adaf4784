"""The graph as ONNX Runtime has optimised it: merged operators, for ONNX Runtime alone."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime

from edgeprune.exporting.onnx import external_file


def optimise(path: Path) -> None:
    """Replace an ONNX file by its optimised form, with its metadata.

    At the level "extended": what depends on the instructions of this CPU, the order of numbers in
    memory, is left to the machine that loads the file. Widths are read from the graph, so pruned
    heads of any number and size are merged or left, never mistaken.
    """
    weights = external_file(path)
    written = path.with_name("optimised.onnx")
    written_weights = external_file(written)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(written)
    if weights.exists():
        entry = "session.optimized_model_external_initializers_file_name"
        options.add_session_config_entry(entry, written_weights.name)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    facts = {
        entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props
    }
    found = onnx.load(written, load_external_data=False)
    onnx.helper.set_model_props(found, facts)
    if weights.exists():
        _point_to(found, weights.name)
        written_weights.replace(weights)
    path.write_bytes(found.SerializeToString())
    written.unlink()


def _point_to(found: onnx.ModelProto, weights: str) -> None:
    """Let all weights that are kept outside be read from another file."""
    for tensor in found.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = weights
