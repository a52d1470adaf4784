"""Leaving out what nobody reads: a classifier that looks at the class token needs no other token
after the last attention has mixed them.

The graph of an exported program is read backwards. Where only the first entries along an axis are
asked of a layer that treats them alike, only those are asked of what it takes in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch.export import ExportedProgram
from torch.fx import Node


@dataclass(frozen=True)
class First:
    """The first ``count`` entries along ``axis`` of a tensor."""

    axis: int
    count: int


# Inputs of a node, each with the axis along which it is cut when the node is.
Inputs = dict[Node, int]
Rule = Callable[[Any, int], Inputs]
RuleT = TypeVar("RuleT", bound=Rule)

aten: Any = torch.ops.aten
_RULES: dict[object, Rule] = {}


def leave_out_unread(program: ExportedProgram) -> None:
    """Change a program so that entries which its output does not depend on are not computed.

    Only what is left at the end of an axis can go: class tokens come first.
    """
    asked = _asked(program)
    # all rules are asked before a shape changes
    plan = [(node, first, _inputs(node, first.axis)) for node, first in asked.items() if first]
    narrowed: set[Node] = set()
    for node, first, inputs in plan:
        if not inputs:
            continue
        for source, axis in inputs.items():
            part = First(axis, first.count)
            if source not in narrowed or asked[source] != part:
                with program.graph.inserting_before(node):
                    node.replace_input_with(source, _cut(program, source, part))
        _narrow(node, first)
        narrowed.add(node)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()


def _asked(program: ExportedProgram) -> dict[Node, First | None]:
    """Return what is asked of every node, in the graph's order; None is all of it."""
    asked: dict[Node, First | None] = {}
    for node in reversed(program.graph.nodes):
        for source, first in _asks(node, asked.get(node)):
            asked[source] = _both(asked[source], first) if source in asked else first
    return {node: asked.get(node) for node in program.graph.nodes}


def _asks(node: Any, first: First | None) -> Iterator[tuple[Node, First | None]]:
    """Yield what a node asks of its inputs when ``first`` is asked of it."""
    if node.target is aten.select.int and first is None:
        source, axis, index = node.args
        size = _shape(source)[axis]
        known = isinstance(index, int) and isinstance(size, int) and 0 <= index < size - 1
        yield source, First(axis % len(_shape(source)), index + 1) if known else None
        return
    inputs = {} if first is None else _inputs(node, first.axis)
    for source in node.all_input_nodes:
        yield source, First(inputs[source], first.count) if first and source in inputs else None


def _both(one: First | None, other: First | None) -> First | None:
    """Return the least that covers both."""
    if one is None or other is None or one.axis != other.axis:
        return None
    return First(one.axis, max(one.count, other.count))


def _inputs(node: Node, axis: int) -> Inputs:
    """Return what is cut along with a node; nothing if the node has to be computed whole."""
    rule = _RULES.get(node.target)
    return {} if rule is None else rule(node, axis)


def _rule(*operators: object) -> Callable[[RuleT], RuleT]:
    """Register how operators are cut."""

    def add(rule: RuleT) -> RuleT:
        _RULES.update(dict.fromkeys(operators, rule))
        return rule

    return add


@_rule(aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
@_rule(aten.gelu.default, aten.silu.default, aten.sigmoid.default)
@_rule(aten.dropout.default, aten.contiguous.default, aten.clone.default)
def _element_by_element(node: Any, axis: int) -> Inputs:
    shape = _shape(node)
    aligned = {source: axis - len(shape) + len(_shape(source)) for source in node.all_input_nodes}
    return {
        source: own
        for source, own in aligned.items()
        if own >= 0 and _same(_shape(source)[own], shape[axis])
    }


@_rule(aten.layer_norm.default)
def _layer_norm(node: Any, axis: int) -> Inputs:
    source, normalised, *_ = node.args
    return {source: axis} if axis < len(_shape(node)) - len(normalised) else {}


@_rule(aten.linear.default)
def _linear(node: Any, axis: int) -> Inputs:
    return {node.args[0]: axis} if axis < len(_shape(node)) - 1 else {}


@_rule(aten.scaled_dot_product_attention.default)
def _attention(node: Any, axis: int) -> Inputs:
    """Only the queries are treated alike; all of them need all keys and values."""
    query, key, value, *rest = node.args
    mask = rest[0] if rest else node.kwargs.get("attn_mask")
    if axis != len(_shape(node)) - 2 or query in (key, value):
        return {}
    if mask is None or _same(_shape(mask)[-2], 1):
        return {query: axis}
    return {query: axis, mask: len(_shape(mask)) - 2}


@_rule(aten.transpose.int)
def _transpose(node: Any, axis: int) -> Inputs:
    source, *axes = node.args
    one, other = (number % len(_shape(node)) for number in axes)
    return {source: {one: other, other: one}.get(axis, axis)}


@_rule(aten.view.default, aten.reshape.default)
def _reshape(node: Any, axis: int) -> Inputs:
    source = node.args[0]
    before, after = _shape(source)[: axis + 1], _shape(node)[: axis + 1]
    kept = len(before) == len(after) and all(map(_same, before, after))
    return {source: axis} if kept else {}


@_rule(aten.slice.Tensor)
def _slice(node: Any, axis: int) -> Inputs:
    source, *rest = node.args
    cut = rest[0] if rest else 0
    return {source: axis} if cut % len(_shape(node)) != axis else {}


def _narrow(node: Any, first: First) -> None:
    """Let a node whose inputs were cut give its first entries only."""
    if _RULES[node.target] is _reshape:
        sizes = list(node.args[1])
        sizes[first.axis] = first.count
        node.args = (node.args[0], sizes)
    node.meta["val"] = node.meta["val"].narrow(first.axis, 0, first.count)


def _cut(program: ExportedProgram, source: Node, first: First) -> Node:
    """Add a node that takes the first entries of another."""
    arguments = (source, first.axis, 0, first.count)
    node: Node = program.graph.call_function(aten.slice.Tensor, arguments)
    node.meta["val"] = source.meta["val"].narrow(first.axis, 0, first.count)
    return node


def _shape(node: Node) -> tuple[Any, ...]:
    return tuple(node.meta["val"].shape)


def _same(one: object, other: object) -> bool:
    """Compare two sizes; the size of the batch is a symbol, equal to itself alone."""
    return str(one) == str(other)
