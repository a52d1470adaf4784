"""Tokens as the rows of one matrix, for all layers that treat them alike.

A linear layer is then a single Gemm, which adds the bias as it goes. Over three axes it would be
a product of stacks of matrices and an addition, a second pass over the result.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node

aten: Any = torch.ops.aten

# Layers that compute every row from the same row of their inputs, and from what all rows share.
ROW_WISE = {
    aten.linear.default,
    aten.layer_norm.default,
    aten.add.Tensor,
    aten.mul.Tensor,
    aten.gelu.default,
    aten.silu.default,
    aten.dropout.default,
}


def flatten_rows(program: ExportedProgram) -> None:
    """Change a program so that layers from the first linear one on work on two axes.

    Where another layer needs all axes, they are given back, which moves no data.
    """
    graph = program.graph
    # what has all its axes, and the same as rows
    rows: dict[Node, Node] = {}
    for node in list(graph.nodes):
        inputs = _row_inputs(node)
        gains = node.target is aten.linear.default or any(source in rows for source in inputs)
        if not inputs or not gains:
            continue
        with graph.inserting_before(node):
            for source in inputs:
                if source not in rows:
                    rows[source] = _reshape(graph, source, (-1, _shape(source)[-1]))
            flat = graph.node_copy(node, lambda source: rows.get(source, source))
            flat.meta["val"] = node.meta["val"].flatten(0, -2)
            full = _reshape(graph, flat, (-1, *_shape(node)[1:]))
        node.replace_all_uses_with(full)
        graph.erase_node(node)
        rows[full] = flat
    graph.eliminate_dead_code()
    program.graph_module.recompile()


def _row_inputs(node: Any) -> list[Node]:
    """Return the inputs that have the rows of a node; none if it cannot work on rows alone."""
    if node.target not in ROW_WISE:
        return []
    shape = _shape(node)
    if len(shape) < 3 or not all(isinstance(size, int) for size in shape[1:]):
        return []
    if node.target is aten.linear.default:
        return [node.args[0]]
    inputs = [source for source in node.all_input_nodes if len(_shape(source)) > 1]
    return inputs if all(_same_rows(source, node) for source in inputs) else []


def _same_rows(one: Node, other: Node) -> bool:
    """Compare all sizes but the last; the size of the batch is a symbol."""
    return list(map(str, _shape(one)[:-1])) == list(map(str, _shape(other)[:-1]))


def _reshape(graph: Graph, source: Node, sizes: tuple[int, ...]) -> Node:
    node: Node = graph.call_function(aten.reshape.default, (source, list(sizes)))
    node.meta["val"] = source.meta["val"].reshape(sizes)
    return node


def _shape(node: Node) -> tuple[Any, ...]:
    return tuple(node.meta["val"].shape)
