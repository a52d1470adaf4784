"""torch-pruning's dependency graph over an adapted model: which rows belong to a channel.

The graph does the grouping and the cutting. This module asks it for the parameter slices of a
group, checks that nothing was left out, and cuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from edgeprune.errors import PlanError
from edgeprune.families import ChannelGroup, Family
from edgeprune.families.cutting import pruners, traced
from edgeprune.families.prunable import Prunable, Slice


@dataclass(frozen=True)
class Member:
    """Slices of one parameter: channel ``c`` of the group is entry ``index[c]`` along ``axis``."""

    parameter: str
    axis: int
    index: torch.Tensor


class PruningGraph:
    """The channel groups of a model, their members, and the knife.

    A graph describes the model as it was when it was built; groups do not share channels, so
    each may be cut once. Every graph starts from registries of its own: torch-pruning keeps
    mutable defaults, through which one pruning would leak into the next.
    """

    def __init__(self, module: nn.Module, family: Family, img_size: int) -> None:
        self.module = module
        self.family = family
        self.groups = family.groups(module)
        device = next(module.parameters()).device
        image = torch.zeros(1, 3, img_size, img_size, device=device)
        requires_grad = {name: p.requires_grad for name, p in module.named_parameters()}
        module.requires_grad_(True)  # the trace follows autograd
        with torch.enable_grad(), traced(module):
            self._graph = tp.DependencyGraph().build_dependency(
                module,
                example_inputs=image,
                customized_pruners=pruners(),
                unwrapped_parameters=family.free_parameters(module),
                ignored_layers=[],
                ignored_params=[],
                verbose=False,
            )
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(requires_grad[name])

    def members(self, group: ChannelGroup) -> list[Member]:
        """Return the parameter slices that channels of ``group`` stand for.

        Raises:
            PlanError: if the graph does not map every channel to one slice of each parameter.
        """
        names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        everything = list(range(group.channels))
        found: list[Member] = []
        for item in self._cut_list(group, everything):
            slices = _slices(self._graph, item)
            if slices and sorted(item.root_idxs) != everything:
                raise PlanError(
                    f"the dependency graph maps {len(set(item.root_idxs))} of the"
                    f" {group.channels} channels of {group.name!r} to {item.dep.target.name!r}"
                )
            for parameter, axis, offset in slices:
                index = torch.empty(group.channels, dtype=torch.long)
                index[torch.tensor(item.root_idxs)] = torch.tensor(item.idxs) + offset
                found.append(Member(names[id(parameter)], axis, index))
        return found

    def cut(self, group: ChannelGroup, remove: Sequence[int]) -> None:
        """Remove channels of a group from every layer that has them."""
        if remove:
            self._cut_list(group, list(remove)).prune(record_history=False)

    def finish(self) -> None:
        """Put derived attributes right after the last cut."""
        self.family.refresh(self.module)

    def _cut_list(self, group: ChannelGroup, channels: list[int]) -> Any:
        root = self.module.get_submodule(group.root)
        pruner = self._graph.get_pruner_of_module(root)
        return self._graph.get_pruning_group(root, pruner.prune_out_channels, channels)


def _slices(graph: Any, item: Any) -> list[Slice]:
    """Return (parameter, axis, offset of the index) for one entry of torch-pruning's group."""
    target = item.dep.target.module
    is_output = graph.is_out_channel_pruning_fn(item.dep.handler)
    if isinstance(target, nn.Parameter):
        return [(target, item.dep.target.pruning_dim, 0)]
    if isinstance(target, Prunable):
        return target.slices(is_output)
    if isinstance(target, (nn.Linear, nn.Conv2d)) and not is_output:
        return [(target.weight, 1, 0)]
    if isinstance(target, (nn.Linear, nn.Conv2d, nn.LayerNorm)):
        tensors = [tensor for tensor in (target.weight, target.bias) if tensor is not None]
        return [(tensor, 0, 0) for tensor in tensors]
    if isinstance(target, nn.Module) and any(True for _ in target.parameters(recurse=False)):
        raise PlanError(f"layers of kind {type(target).__name__} cannot be pruned")
    return []
