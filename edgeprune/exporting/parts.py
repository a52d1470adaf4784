"""Writing a model as one protobuf file without holding it in memory several times.

``SerializeToString`` needs a message of all weights, and twice their size again for its bytes. Here
only one weight is a message at a time. The file holds the same, but for the type of each weight,
which is said once, by the weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnxscript import ir

_GRAPH = onnx.ModelProto.GRAPH_FIELD_NUMBER
_INITIALIZER = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
_BYTES_WIRE_TYPE = 2


def write_in_parts(found: ir.Model, path: Path) -> None:
    """Write ``found`` with its weights inside; at most 2 GB, as protobuf has it. Raises OSError."""
    weights = list(found.graph.initializers.values())
    found.graph.initializers.clear()
    try:
        rest = ir.to_proto(found)
    finally:
        found.graph.initializers.update({value.name: value for value in weights if value.name})
    graph = rest.graph.SerializeToString()
    rest.ClearField("graph")
    # the length comes first in the file: each weight is made twice, so that one is held at a time
    length = len(graph) + sum(map(len, _fields(weights)))
    with path.open("wb") as file:
        file.write(rest.SerializeToString())
        file.write(_head(_GRAPH, length))
        file.write(graph)
        for field in _fields(weights):
            file.write(field)


def _fields(weights: list[ir.Value]) -> Iterator[bytes]:
    """Yield the fields of a graph that hold its weights."""
    for value in weights:
        if value.const_value is not None:
            tensor = ir.to_proto(value.const_value)
            tensor.name = value.name or ""
            content = tensor.SerializeToString()
            yield _head(_INITIALIZER, len(content)) + content


def _head(number: int, length: int) -> bytes:
    """Return what comes before a field of ``length`` bytes: its number and length, as varints."""
    return _varint(number << 3 | _BYTES_WIRE_TYPE) + _varint(length)


def _varint(number: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first; all but the last are marked."""
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])
