"""Rewriting a graph of operator set 18 for 13 to 17, which older runtimes read.

TensorRT 8.0 to 8.5 (JetPack 4 and 5) is what they are for: it has no LayerNormalization, and reads
the layouts of operators as they were before 18. What such a file computes is proved like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnxscript import ir

from edgeprune.errors import ModelError
from edgeprune.exporting.initializers import drop_unused, store

# Softmax, Unsqueeze and the reductions changed in 13; what is older is not worth having.
OLDEST = 13

# The versions of the format itself that came with opsets 13 and 15; runtimes refuse newer ones.
IR_VERSIONS = ((15, 8), (13, 7))

# In fp16 the squares of a residual stream's large channels would overflow: with this they may be up
# to 4000 from the mean. A power of two: in fp32 no bit changes.
STATISTICS_SCALE = 1 / 16


def write_in(found: ir.Model, opset: int) -> None:
    """Change a model of operator set 18, in place, to an older one.

    Raises:
        ModelError: naming an operator that the older set does not have.
    """
    graph = found.graph
    for node in list(graph):
        since, rule = _RULES.get(node.op_type, (0, None))
        if rule is not None and opset < since:
            _replace(graph, node, rule(node))
    found.opset_imports[""] = opset
    found.ir_version = next(version for since, version in IR_VERSIONS if opset >= since)
    for node in graph:
        _check(node, opset)
    drop_unused(graph)


def _layer_normalization(node: ir.Node) -> list[ir.Node]:
    """Write ``scale (x - mean) / sqrt(variance + epsilon) + bias`` in single steps."""
    x, scale, bias = node.inputs
    axis, epsilon = node.attributes["axis"].as_int(), node.attributes["epsilon"].as_float()
    assert x is not None  # its operand
    if axis not in (-1, len(x.shape or ()) - 1):
        raise ModelError(f"LayerNormalization over more than the last axis: {node.name!r}")
    over: dict[str, int | list[int]] = {"axes": [-1], "keepdims": 1}
    mean = ir.node("ReduceMean", [x], over)
    centred = ir.node("Sub", [x, mean.outputs[0]])
    small = ir.node("Mul", [centred.outputs[0], _number(STATISTICS_SCALE, node, "scale")])
    squares = ir.node("Mul", [small.outputs[0], small.outputs[0]])
    variance = ir.node("ReduceMean", [squares.outputs[0]], over)
    least = _number(epsilon * STATISTICS_SCALE**2, node, "epsilon")
    safe = ir.node("Add", [variance.outputs[0], least])
    deviation = ir.node("Sqrt", [safe.outputs[0]])
    normal = ir.node("Div", [small.outputs[0], deviation.outputs[0]])
    scaled = ir.node("Mul", [normal.outputs[0], scale])
    shifted = [] if bias is None else [ir.node("Add", [scaled.outputs[0], bias])]
    steps = [mean, centred, small, squares, variance, safe, deviation, normal, scaled]
    return [*steps, *shifted]


def _reduction(node: ir.Node) -> list[ir.Node]:
    """Put the axes, an input since 18, into an attribute."""
    x, *axes = node.inputs
    attributes = {"keepdims": node.attributes["keepdims"].as_int()}
    if axes and axes[0] is not None:
        attributes["axes"] = _constant(axes[0], node).tolist()
    return [ir.node(node.op_type, [x], attributes)]


def _shape(node: ir.Node) -> list[ir.Node]:
    """Take a part of a shape, which one operator does since 15, by slicing it."""
    bounds = [
        node.attributes[name].as_int() if name in node.attributes else otherwise
        for name, otherwise in (("start", 0), ("end", np.iinfo(np.int64).max))
    ]
    whole = ir.node("Shape", node.inputs)
    start, end = (
        _integers([bound], node, name) for bound, name in zip(bounds, ("start", "end"), strict=True)
    )
    return [whole, ir.node("Slice", [whole.outputs[0], start, end])]


def _reshape(node: ir.Node) -> list[ir.Node]:
    """Leave out that a 0 means no element, which is new in 14: no shape here holds one."""
    return [ir.node("Reshape", node.inputs)]


def _split(node: ir.Node) -> list[ir.Node]:
    """Leave out the number of equal parts, which before 18 is that of the outputs."""
    attributes = {"axis": node.attributes["axis"].as_int() if "axis" in node.attributes else 0}
    return [ir.node("Split", node.inputs, attributes, num_outputs=len(node.outputs))]


# By operator: the set from which on it is as the exporter writes it, and how to write it before.
_RULES: dict[str, tuple[int, Callable[[ir.Node], list[ir.Node]]]] = {
    "LayerNormalization": (17, _layer_normalization),
    "ReduceL2": (18, _reduction),
    "ReduceMean": (18, _reduction),
    "Reshape": (14, _reshape),
    "Shape": (15, _shape),
    "Split": (18, _split),
}


def _replace(graph: ir.Graph, node: ir.Node, steps: list[ir.Node]) -> None:
    """Put ``steps`` in the place of ``node``; the outputs of the last are its own."""
    for index, step in enumerate(steps[:-1]):
        step.name = step.outputs[0].name = f"{node.name}.{index}"
        step.outputs[0].type = node.outputs[0].type
    steps[-1].name = node.name
    graph.insert_before(node, steps)
    for before, after in zip(node.outputs, steps[-1].outputs, strict=True):
        after.name, after.shape, after.type = before.name, before.shape, before.type
        before.replace_all_uses_with(after, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _number(value: float, node: ir.Node, name: str) -> ir.Value:
    return _stored(np.array(value, np.float32), node, name)


def _integers(values: Sequence[int], node: ir.Node, name: str) -> ir.Value:
    return _stored(np.array(values, np.int64), node, name)


def _stored(array: np.ndarray, node: ir.Node, name: str) -> ir.Value:
    assert node.graph is not None
    return store(node.graph, f"{node.name}.{name}", array)


def _constant(value: ir.Value, node: ir.Node) -> np.ndarray:
    if value.const_value is None:
        raise ModelError(f"{node.op_type} over axes that are computed: {node.name!r}")
    return value.const_value.numpy()


def _check(node: ir.Node, opset: int) -> None:
    """Refuse an operator that is newer, or has an attribute or input that is."""
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        raise ModelError(
            f"this model needs the operator {node.op_type}, which opset {opset} does not have"
        ) from None
    new = [name for name in node.attributes if name not in schema.attributes]
    if new or len(node.inputs) > schema.max_input:
        what = new[0] if new else f"input {len(node.inputs)}"
        raise ModelError(f"opset {opset} has no {what} of {node.op_type}, as this model needs it")
