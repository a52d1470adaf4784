"""Constants that a graph stores: adding one, and dropping those that nothing reads."""

from __future__ import annotations

import numpy.typing as npt
from onnxscript import ir


def store(graph: ir.Graph, name: str, array: npt.ArrayLike) -> ir.Value:
    """Store an array in a graph under a name that is new there, and return its value."""
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value


def drop_unused(graph: ir.Graph) -> None:
    """Remove what is stored and read by no node."""
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]
