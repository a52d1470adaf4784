"""From the operators of a profiled call to the layers of the network that was exported.

Read in the process that plans a bench, not in the measuring one: parsing the file takes memory.
"""

from __future__ import annotations

import ast
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from pathlib import Path
from typing import Any

from edgeprune.benchmarking.runtimes.base import Operator, Profile
from edgeprune.layer_names import OTHER, layer_names

# Where PyTorch's exporter notes the modules around an operator, from the network to the operator.
SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True)
class Layer:
    """What one layer did in a profiled call, and what the file stores for it.

    Attributes:
        ms: time of its operators.
        operators: how many ran.
        parameter_bytes: the stored tensors that it reads; one that several layers read counts for
            each. Scalars and shapes do not.
        activation_bytes: outputs of its operators.
    """

    name: str
    ms: float
    operators: int
    parameter_bytes: int
    activation_bytes: int


@dataclass(frozen=True)
class LayerProfile:
    """The layers of a call in the network's order, and the profile that they come from."""

    layers: Sequence[Layer]
    profile: Profile


@dataclass(frozen=True)
class FileLayers:
    """Which layer each named node of a file belongs to, and what is stored for each layer."""

    of_node: Mapping[str, str]
    parameter_bytes: Mapping[str, int]


def by_layer(path: Path, profile: Profile) -> LayerProfile:
    """Add up the operators of a call by the layer of the ONNX file that they come from."""
    file = read_layers(path)
    ran: dict[str, list[Operator]] = defaultdict(list)
    names = operator_layers([operator.name for operator in profile.operators], file.of_node)
    for name, operator in zip(names, profile.operators, strict=True):
        ran[name].append(operator)
    order = [*dict.fromkeys([*file.of_node.values(), *ran])]
    order.sort(key=lambda name: name == OTHER)
    layers = [
        Layer(
            name=name,
            ms=sum(operator.ms for operator in ran[name]),
            operators=len(ran[name]),
            parameter_bytes=file.parameter_bytes.get(name, 0),
            activation_bytes=sum(operator.written_bytes for operator in ran[name]),
        )
        for name in order
        if ran[name]
    ]
    return LayerProfile(layers, profile)


def operator_layers(names: Sequence[str], of_node: Mapping[str, str]) -> list[str]:
    """Return the layer of each operator that ran, ``other`` where it is not clear.

    ONNX Runtime appends to the name of a node what it did to it. Where it gave a new name to what
    it merged or put in, the operator belongs to the layer that runs both before and after it.
    """
    found = [_named(name, of_node) for name in names]
    before = _carried(found)
    after = _carried(found[::-1])[::-1]
    return [
        own or (one if one == two or two is None else two if one is None else None) or OTHER
        for own, one, two in zip(found, before, after, strict=True)
    ]


def read_layers(path: Path) -> FileLayers:
    """Attribute the nodes of an ONNX file to layers, and what it stores to those that read it.

    A node belongs to the module that PyTorch's exporter noted, or else to the one that its name or
    its weights' names spell. Else it belongs to the layer that all readers of its outputs belong
    to, or to that of all its inputs.
    """
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            stored[node.output[0]] = node.attribute[0].t
    readers = Counter(name for node in graph.node for name in set(node.input))
    own = {name for name in stored if readers[name] == 1}
    layers = _spread(graph.node, layer_names([_path(node, own) for node in graph.node]))
    read: dict[str, dict[str, int]] = defaultdict(dict)
    for node, layer in zip(graph.node, layers, strict=True):
        for name in node.input:
            if name in stored:
                read[layer][name] = _parameter_bytes(stored[name])
    return FileLayers(
        {node.name: layer for node, layer in zip(graph.node, layers, strict=True) if node.name},
        {layer: sum(sizes.values()) for layer, sizes in read.items()},
    )


def _named(name: str, of_node: Mapping[str, str]) -> str | None:
    while name:
        if name in of_node:
            return of_node[name]
        name = name.rpartition("/")[0]
    return None


def _carried(values: Iterable[str | None]) -> list[str | None]:
    """Return for each place the last value up to it that is not None."""
    found, last = [], None
    for value in values:
        last = value or last
        found.append(last)
    return found


def _path(node: Any, own: set[str]) -> str | None:
    """Return the module that a node belongs to, None if the file does not say.

    Of stored tensors only those tell it that no other node reads: equal ones are stored once.
    """
    noted = {entry.key: entry.value for entry in node.metadata_props}.get(SCOPES)
    if noted is not None:
        return _scope_path(noted)
    named = _name_path(node.name)
    if named is not None:
        return named
    return next(
        (name.rpartition(".")[0] for name in node.input if name in own and "." in name), None
    )


def _scope_path(noted: str) -> str | None:
    """Return the innermost module of a list of scopes, which begins with the network itself."""
    try:
        scopes = ast.literal_eval(noted)
    except (SyntaxError, ValueError):
        return None
    if not isinstance(scopes, list) or len(scopes) < 2 or scopes[0] != "":
        return None
    return str(scopes[-2])


def _name_path(name: str) -> str | None:
    """Return the modules in a name such as ``/blocks/blocks.0/attn/MatMul``, None without any.

    ONNX Runtime, which optimised the file before, appends what it did: ``Add_7/SomeFusion/``.
    """
    words = [word for word in name.split("/") if word and not word.endswith("Fusion")]
    if len(words) < 2 and not name.startswith("/"):
        return None
    modules = words[:-1]
    repeated = [after.startswith(f"{word}.") for word, after in pairwise(modules)]
    return ".".join(compress(modules, [*(not again for again in repeated), True]))


def _spread(nodes: Sequence[Any], layers: Sequence[str | None]) -> list[str]:
    """Give nodes whose module is not known to the layer around them, if it is a single one."""
    found = list(layers)
    writer = {name: index for index, node in enumerate(nodes) for name in node.output}
    readers: dict[int, list[int]] = defaultdict(list)
    inputs = [[writer[name] for name in node.input if name in writer] for node in nodes]
    for index, sources in enumerate(inputs):
        for source in sources:
            readers[source].append(index)
    for index in reversed(range(len(nodes))):
        found[index] = found[index] or _single(found[other] for other in readers[index])
    for index, sources in enumerate(inputs):
        found[index] = found[index] or _single(found[other] for other in sources)
    return [layer or OTHER for layer in found]


def _single(layers: Iterable[str | None]) -> str | None:
    """Return the one layer that there is, None if there are several or none."""
    distinct = set(layers)
    return distinct.pop() if len(distinct) == 1 else None


def _parameter_bytes(tensor: Any) -> int:
    """Return the size of a stored tensor; 0 for a scalar, and for a shape or an index."""
    import onnx

    if not tensor.dims or tensor.data_type == onnx.TensorProto.INT64:
        return 0
    lengths = [int(entry.value) for entry in tensor.external_data if entry.key == "length"]
    if lengths or tensor.raw_data:
        return sum(lengths) or len(tensor.raw_data)
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(math.prod(tensor.dims) * kind.itemsize)
