"""int8 for linear layers and the patch convolution; all else stays in fp32.

Quantising every operator of a vision transformer costs nearly all its accuracy; its linear layers
are nearly all its work.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxscript import ir

from edgeprune.exporting.calibration import Range
from edgeprune.exporting.initializers import drop_unused, store
from edgeprune.exporting.layers import Product, products

Array = npt.NDArray[np.float32]

# A bias is stored in int32, in steps of the product of both scales, and leaves room for the sum.
LARGEST_BIAS = 2.0**30


@dataclass(frozen=True)
class Flavour:
    """What a runtime wants of int8.

    Attributes:
        signed: activations are signed and symmetric about zero, else unsigned with a zero point.
        weight_levels: largest number of a weight. With 63, two products of an unsigned 8-bit
            number and a weight fit a signed 16-bit sum: CPUs without VNNI add them in one, and
            would saturate.
        integer_bias: biases are int32 too, which ONNX Runtime asks for to run a layer in
            integers; TensorRT takes them in fp32.
    """

    signed: bool
    weight_levels: int
    integer_bias: bool


FLAVOURS = {
    "cpu": Flavour(signed=False, weight_levels=127, integer_bias=True),
    "cpu-avx2": Flavour(signed=False, weight_levels=63, integer_bias=True),
    "tensorrt": Flavour(signed=True, weight_levels=127, integer_bias=False),
}


def quantise_static(
    found: ir.Model,
    ranges: Mapping[str, Range],
    flavour: Flavour,
    keep: Collection[str] = (),
) -> None:
    """Put QuantizeLinear and DequantizeLinear around the inputs of every product.

    Args:
        found: a model in fp32, changed in place.
        ranges: of what each product takes, by the name of the value.
        flavour: what the runtime wants.
        keep: layers that stay in fp32.
    """
    quantised: dict[ir.Value, tuple[ir.Value, float]] = {}
    for product in _chosen(found, keep):
        graph = product.node.graph
        assert graph is not None
        writer = _Writer(product)
        source = product.source
        if source not in quantised:
            scale, zero = activation_scale(ranges[str(source.name)], flavour)
            quantised[source] = writer.round_trip(source, scale, zero), scale
        taken, scale = quantised[source]
        weight, scales = quantise_weight(product, flavour.weight_levels, scale)
        product.node.replace_input_with(0, taken)
        old = product.weight
        product.node.replace_input_with(1, writer.stored(str(old.name), weight, scales))
        bias = product.bias
        # A convolution whose result stays in fp32 is not run in integers.
        if bias is not None and flavour.integer_bias and product.node.op_type == "Gemm":
            steps = (scales * scale).astype(np.float32)
            integers = np.rint(_array(bias) / steps).astype(np.int32)
            product.node.replace_input_with(2, writer.stored(str(bias.name), integers, steps))
    drop_unused(found.graph)


def quantise_dynamic(found: ir.Model, flavour: Flavour, keep: Collection[str] = ()) -> None:
    """Give every linear layer weights in int8 and activations that are quantised as they come.

    The ranges are those of the batch at hand. The patch convolution stays in fp32.
    """
    quantised: dict[ir.Value, list[ir.Value]] = {}
    for product in _chosen(found, keep):
        node, source = product.node, product.source
        if node.op_type != "Gemm":
            continue
        writer = _Writer(product)
        if source not in quantised:
            quantised[source] = writer.add("DynamicQuantizeLinear", [source], count=3)
        taken, scale, zero = quantised[source]
        weight, scales = quantise_weight(product, flavour.weight_levels)
        name = str(product.weight.name)
        integers = writer.constant(f"{name}.int8", np.ascontiguousarray(weight.T))
        (sums,) = writer.add("MatMulInteger", [taken, integers, zero])
        (numbers,) = writer.add("Cast", [sums], {"to": ir.DataType.FLOAT})
        (factors,) = writer.add("Mul", [scale, writer.constant(f"{name}.scale", scales)])
        (scaled,) = writer.add("Mul", [numbers, factors])
        if product.bias is not None:
            (scaled,) = writer.add("Add", [scaled, product.bias])
        (old,) = node.outputs
        scaled.shape, scaled.type = old.shape, old.type
        assert node.graph is not None
        ir.convenience.replace_all_uses_with(old, scaled, replace_graph_outputs=True)
        name_of_old = old.name
        node.graph.remove(node, safe=True)
        scaled.name = name_of_old
    drop_unused(found.graph)


def activation_scale(found: Range, flavour: Flavour) -> tuple[float, np.integer[Any]]:
    """Return step and zero point of an activation; 0 is represented exactly."""
    low, high = min(found.low, 0.0), max(found.high, 0.0)
    if flavour.signed:
        return max(-low, high, 1e-12) / 127, np.int8(0)
    scale = float(np.float32(max(high - low, 1e-12) / 255))
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))


def quantise_weight(
    product: Product, levels: int, activation: float = 1.0
) -> tuple[npt.NDArray[np.int8], Array]:
    """Return a weight in int8, ``(out, in, ...)``, and the step of every output channel.

    ``activation`` is the step of what it is multiplied with: a channel with hardly any weight but
    a bias gets steps in which the bias can be counted.
    """
    array = _array(product.weight)
    rows = np.abs(array.reshape(len(array), -1)).max(1) / levels
    if product.bias is not None:
        rows = np.maximum(rows, np.abs(_array(product.bias)) / (activation * LARGEST_BIAS))
    scales: Array = np.where(rows > 0, np.maximum(rows, 1e-20), 1.0).astype(np.float32)
    column = scales.reshape(-1, *[1] * (array.ndim - 1))
    return np.rint(array / column).clip(-levels, levels).astype(np.int8), scales


class _Writer:
    """Adds nodes before the node of a product, and constants to its graph."""

    def __init__(self, product: Product) -> None:
        self._node = product.node
        assert product.node.graph is not None
        self._graph: ir.Graph = product.node.graph

    def constant(self, name: str, array: npt.ArrayLike) -> ir.Value:
        if name not in self._graph.initializers:
            store(self._graph, name, np.asarray(array))
        return self._graph.initializers[name]

    def add(
        self,
        operator: str,
        inputs: list[ir.Value],
        attributes: dict[str, int] | None = None,
        count: int = 1,
    ) -> list[ir.Value]:
        given = ir.convenience.convert_attributes(attributes or {})
        node = ir.Node("", operator, inputs, given, num_outputs=count)
        self._graph.insert_before(self._node, node)
        return list(node.outputs)

    def stored(self, name: str, integers: npt.NDArray[np.signedinteger], scales: Array) -> ir.Value:
        """Store numbers as integers, and take them times the step of their output channel."""
        inputs = [
            self.constant(f"{name}.int", integers),
            self.constant(f"{name}.scale", scales),
            # ONNX Runtime runs a layer in integers only if every zero point is there.
            self.constant(f"{name}.zero", np.zeros(len(integers), integers.dtype)),
        ]
        return self.add("DequantizeLinear", inputs, {"axis": 0})[0]

    def round_trip(self, source: ir.Value, scale: float, zero: np.integer[Any]) -> ir.Value:
        """Quantise a value and take the numbers that are left of it."""
        steps = [
            self.constant(f"{source.name}.scale", np.float32(scale)),
            self.constant(f"{source.name}.zero", zero),
        ]
        (integers,) = self.add("QuantizeLinear", [source, *steps])
        (numbers,) = self.add("DequantizeLinear", [integers, *steps])
        numbers.shape, numbers.type = source.shape, source.type
        return numbers


def _chosen(found: ir.Model, keep: Collection[str]) -> list[Product]:
    return [product for product in products(found) if product.layer not in keep]


def _array(value: ir.Value) -> Array:
    assert value.const_value is not None
    array: Array = value.const_value.numpy()
    return array
