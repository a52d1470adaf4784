"""The layers of an exported graph that int8 is for: linear ones, and the patch convolution."""

from __future__ import annotations

import re
from dataclasses import dataclass

from onnxscript import ir

# The parts of a packed weight, q, k and v, are stored apart: NAME.weight.0, .1 and .2.
_WEIGHT = re.compile(r"(?P<layer>.+)\.weight(\.\d+)?")


@dataclass(frozen=True)
class Product:
    """A node that multiplies what it takes with a stored weight, ``(out, in, ...)``.

    Attributes:
        layer: name of PyTorch's module; the three products of q, k and v have the same.
    """

    layer: str
    node: ir.Node

    @property
    def source(self) -> ir.Value:
        """What is multiplied."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def weight(self) -> ir.Value:
        """The stored weight."""
        value = self.node.inputs[1]
        assert value is not None
        return value

    @property
    def bias(self) -> ir.Value | None:
        """The stored bias, ``(out,)``."""
        return self.node.inputs[2] if len(self.node.inputs) > 2 else None


def products(found: ir.Model) -> list[Product]:
    """Return the products of a model in fp32 that :func:`edgeprune.exporting.onnx.trace` made."""
    chosen = []
    for node in found.graph:
        if node.op_type not in ("Gemm", "Conv") or len(node.inputs) < 2:
            continue
        weight = node.inputs[1]
        if weight is None or weight.const_value is None:
            continue
        match = _WEIGHT.fullmatch(str(weight.name))
        if match:
            chosen.append(Product(match["layer"], node))
    return chosen
