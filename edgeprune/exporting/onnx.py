"""ONNX in fp32, with everything a user of the file must know in its metadata."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from onnxscript import ir

from edgeprune.errors import UsageError
from edgeprune.exporting import older_opsets, translations
from edgeprune.exporting.initializers import store
from edgeprune.exporting.narrowing import leave_out_unread
from edgeprune.exporting.parts import write_in_parts
from edgeprune.exporting.rows import flatten_rows
from edgeprune.files import explain_os_errors
from edgeprune.model import Model
from edgeprune.selection import selection_of

INPUT, OUTPUT = "images", "logits"
DEFAULT_OPSET = 18
OPSETS = range(older_opsets.OLDEST, 24)

# protobuf cannot hold more in one file
SINGLE_FILE_LIMIT_BYTES = 2_000_000_000


def export_onnx(
    model: Model, path: Path, *, opset: int = DEFAULT_OPSET, batch: int | None = None
) -> None:
    """Write ``model`` as an ONNX file in fp32: :func:`trace`, then :func:`write`."""
    write(trace(model, opset=opset, batch=batch), path, metadata(model))


def check_range(opset: int, batch: int | None) -> None:
    """Check, before any long work, that these can be asked for.

    Raises:
        UsageError: if the opset or batch is out of range.
    """
    if opset not in OPSETS:
        raise UsageError(f"opset {opset} is not accepted; {OPSETS[0]} to {OPSETS[-1]} are")
    if batch is not None and batch < 1:
        raise UsageError(f"batch {batch} is not accepted; 'dynamic' or 1 and more are")


def trace(model: Model, *, opset: int = DEFAULT_OPSET, batch: int | None = None) -> ir.Model:
    """Return ``model`` as an ONNX model in fp32, which shares the memory of its weights.

    The graph maps ``images (batch, 3, size, size)`` to ``logits (batch, classes)``. All linear
    layers are ``Gemm`` nodes whose weights, ``(out, in)``, have the names that PyTorch gives them.

    Args:
        model: any model.
        opset: version of the operator set; one before 18 is written for older runtimes.
        batch: a fixed batch size, or None for a dynamic one.

    Raises:
        UsageError: if the opset or batch is out of range.
        ModelError: if the model needs an operator that the opset does not have.
    """
    check_range(opset, batch)
    size = model.record.img_size
    # a batch of 1 would be taken for a constant
    images = torch.zeros(batch or 2, 3, size, size)
    shapes = None if batch else {"x": {0: torch.export.Dim("batch", min=1)}}
    with _quiet(), torch.no_grad():
        traced = torch.export.export(
            model.module.eval(), (images,), dynamic_shapes=shapes, strict=False
        )
        leave_out_unread(traced)
        flatten_rows(traced)
        program = torch.onnx.export(
            traced,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=max(opset, DEFAULT_OPSET),
            dynamo=True,
            custom_translation_table=translations.table(opset),
            verbose=False,
        )
        assert program is not None  # the dynamo exporter returns one or raises
        graph = program.model.graph
        _fold_splits(graph)
    if opset < DEFAULT_OPSET:
        older_opsets.write_in(program.model, opset)
    # "batch" is only a hint to the exporter; the name is what a reader of the file sees
    if batch is None:
        for value in (graph.inputs[0], graph.outputs[0]):
            sizes = list(value.shape or ())
            value.shape = ir.Shape(["batch", *sizes[1:]])
    found: ir.Model = program.model
    return found


def write(found: ir.Model, path: Path, facts: dict[str, str]) -> Path | None:
    """Write an ONNX model in place; callers give a scratch name.

    Above 2 GB, which no protobuf file can hold, the weights go into ``NAME.onnx.data`` beside it.

    Returns:
        The file with the weights, or None if they are in the model file.

    Raises:
        OutputError: if the disk is full.
    """
    found.metadata_props.update(facts)
    sizes = [
        value.const_value.nbytes for value in found.graph.initializers.values() if value.const_value
    ]
    external = external_file(path) if sum(sizes) > SINGLE_FILE_LIMIT_BYTES else None
    with explain_os_errors(path):
        if external is None:
            write_in_parts(found, path)
        else:
            ir.save(found, path, external_data=external.name)
    return external


def external_file(path: Path) -> Path:
    """Return where the weights of an ONNX file lie if it does not hold them itself."""
    return path.with_name(f"{path.name}.data")


def _fold_splits(graph: ir.Graph) -> None:
    """Store the parts of a weight that is split, q, k and v of one layer, in its place."""
    for node in [node for node in graph if node.op_type == "Split"]:
        whole = node.inputs[0]
        if whole is None or whole.name is None or whole.const_value is None:
            continue  # split at run time
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        arrays = np.split(whole.const_value.numpy(), len(node.outputs), axis)
        for index, (output, array) in enumerate(zip(node.outputs, arrays, strict=True)):
            name = f"{whole.name}.{index}"
            output.replace_all_uses_with(store(graph, name, np.ascontiguousarray(array)))
        graph.remove(node, safe=True)
        if not whole.uses():
            del graph.initializers[whole.name]


def metadata(model: Model, precision: str = "fp32") -> dict[str, str]:
    """Return what a user of a file must know: model, classes, preprocessing, fingerprint."""
    record = model.record
    selection = selection_of(record.made)
    preprocess = {
        "img_size": record.img_size,
        "mean": record.mean,
        "std": record.std,
        "interpolation": record.interpolation,
    }
    return {
        "edgeprune.model": record.model,
        "edgeprune.family": record.family,
        "edgeprune.classes": json.dumps(record.class_names),
        "edgeprune.preprocess": json.dumps(preprocess),
        "edgeprune.macs": str(record.pruned.macs),
        "edgeprune.params": str(record.pruned.params),
        "edgeprune.fingerprint": record.weights_sha256,
        "edgeprune.precision": precision,
        **({"edgeprune.selection": selection} if selection else {}),
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's log about its own optional parts away from users."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
