"""Half precision: fp16 tensors wherever their numbers fit, fp32 where they do not.

Precision lives in the graph, as strongly typed runtimes want it: every value has one type, and
casts stand where two types meet. Softmax and LayerNormalization stay in fp32 (see docs/export.md),
and so does every node that takes or gives numbers which fp16 cannot hold with room to spare:
residual streams of large models have channels beyond 65504.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
from onnxscript import ir

from edgeprune.exporting.initializers import drop_unused, store

Array = npt.NDArray[np.floating]

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16

# Exponentials and statistics lose most of what fp16 loses.
SENSITIVE = frozenset({"Softmax", "LayerNormalization", "ReduceL2", "RMSNormalization"})

# The largest number of fp16 is 65504; what was observed may be exceeded by other images.
LARGEST = 65504 / 2


def beyond_half(found: ir.Model, largest: Mapping[str, float]) -> frozenset[str]:
    """Return the names of nodes that take or give numbers above half of fp16's largest.

    Args:
        found: a model in fp32.
        largest: of every value of the graph, by name, the largest absolute number observed.
    """
    return frozenset(
        str(node.name)
        for node in found.graph
        for value in (*node.inputs, *node.outputs)
        if value is not None and not _largest(value, largest) <= LARGEST
    )


def to_half(found: ir.Model, keep: Collection[str] = (), io: str = "fp32") -> None:
    """Change a model in fp32 to fp16.

    Args:
        found: the model, changed in place.
        keep: names of nodes that stay in fp32.
        io: type of the graph's input and output, ``"fp32"`` or ``"fp16"``.
    """
    graph = found.graph
    if io == "fp16":
        for images in graph.inputs:
            images.type = ir.TensorType(HALF)
    casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
    for node in list(graph):
        half = _can_be_half(node) and node.name not in keep
        wanted = HALF if half else FLOAT
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype in (FLOAT, HALF) and value.dtype != wanted:
                node.replace_input_with(index, _as(value, wanted, node, casts))
        if half:
            for given in node.outputs:
                if given.dtype == FLOAT:
                    given.type = ir.TensorType(HALF)
            if node.op_type == "Attention":  # one operator from opset 23 on, with its own softmax
                node.attributes.add(ir.AttrInt64("softmax_precision", FLOAT))
    _cast_output(graph, HALF if io == "fp16" else FLOAT)
    drop_unused(graph)


def _largest(value: ir.Value, observed: Mapping[str, float]) -> float:
    if value.const_value is not None:
        if value.dtype != FLOAT or not value.const_value.size:
            return 0.0
        return float(np.abs(value.const_value.numpy()).max())
    return observed.get(str(value.name), 0.0)


def _can_be_half(node: ir.Node) -> bool:
    """Tell if a node works on floating-point numbers, and not on sensitive ones."""
    takes_floats = any(value is not None and value.dtype in (FLOAT, HALF) for value in node.inputs)
    return takes_floats and node.op_type not in SENSITIVE | {"Cast", "QuantizeLinear"}


def _as(
    value: ir.Value,
    wanted: ir.DataType,
    node: ir.Node,
    casts: dict[tuple[ir.Value, ir.DataType], ir.Value],
) -> ir.Value:
    """Return ``value`` in another type: a converted weight, or the result of a cast."""
    if (value, wanted) in casts:
        return casts[value, wanted]
    name = f"{value.name}.{'fp16' if wanted == HALF else 'fp32'}"
    if value.const_value is not None:
        array = value.const_value.numpy().astype(wanted.numpy())
        if node.op_type == "Clip" and wanted == HALF:
            array = _without_zeros(array, value.const_value.numpy())
        assert node.graph is not None
        cast = store(node.graph, name, array)
    else:
        change = ir.node("Cast", [value], {"to": wanted}, name=f"{name}.cast")
        cast = change.outputs[0]
        cast.name, cast.shape, cast.dtype = name, value.shape, wanted
        producer = value.producer()
        assert node.graph is not None
        if producer is None:
            node.graph.insert_before(node, change)
        else:
            node.graph.insert_after(producer, change)
    casts[value, wanted] = cast
    return cast


def _without_zeros(half: Array, limits: Array) -> Array:
    """Return limits in fp16 none of which became zero: divisors are kept above 1e-12."""
    least = np.finfo(np.float16).smallest_normal
    return np.where((half == 0) & (limits != 0), np.copysign(least, limits), half).astype(
        half.dtype
    )


def _cast_output(graph: ir.Graph, wanted: ir.DataType) -> None:
    """Give the graph's output the type that was asked for, under its old name."""
    (value,) = graph.outputs
    if value.dtype == wanted:
        return
    name = value.name
    value.name = f"{name}.uncast"
    change = ir.node("Cast", [value], {"to": wanted}, name=f"{name}.cast")
    cast = change.outputs[0]
    cast.name, cast.shape, cast.dtype = name, value.shape, wanted
    graph.append(change)
    graph.outputs[0] = cast
