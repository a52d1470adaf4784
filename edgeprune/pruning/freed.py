"""What a removal frees: the weight of a unit when unlike layers compete."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgeprune.costs import macs_by_module
from edgeprune.families import ChannelGroup
from edgeprune.pruning.graph import Member

COSTS = ("macs", "params", "none")


class Freed:
    """Parameters or MACs that groups and blocks stand for, at the present widths.

    The parameters of a group are those of its slices. Its MACs are those of every layer that
    reads or writes its channels, and of the mixing of tokens beside them: each grows in
    proportion to the number of channels.

    Args:
        module: the network.
        img_size: height and width of its images.
        quantity: ``macs``, ``params``, or ``none``: then everything frees 1.
    """

    def __init__(self, module: nn.Module, img_size: int, quantity: str) -> None:
        self._quantity = quantity
        self._module = module
        self._macs = macs_by_module(module, img_size) if quantity == "macs" else {}

    def group(self, group: ChannelGroup, members: Sequence[Member]) -> float | None:
        """Return what all channels of a group stand for; None if that does not count."""
        if self._quantity == "none":
            return None
        if self._quantity == "params":
            return float(sum(self._slice(member) for member in members) * group.channels)
        layers = {(member.parameter.rpartition(".")[0], member.axis) for member in members}
        touched = sum(self._own(path) for path, _ in layers)
        parent = group.root.rpartition(".")[0]
        beside = [name for name in self._macs if name.rpartition(".")[0] == parent]
        return float(touched + sum(self._own(p) for p in beside if not self._has_weights(p)))

    def block(self, path: str) -> float:
        """Return what a residual block stands for; 1 if that does not count."""
        if self._quantity == "none":
            return 1.0
        if self._quantity == "macs":
            return float(self._macs.get(path, 0))
        return float(sum(p.numel() for p in self._module.get_submodule(path).parameters()))

    def _slice(self, member: Member) -> float:
        parameter: torch.Tensor = self._module.get_parameter(member.parameter)
        return parameter.numel() / parameter.shape[member.axis]

    def _own(self, path: str) -> int:
        """Return the MACs of a module without those of its parts; 0 for the network as a whole."""
        if path not in self._macs:
            return 0
        parts = [name for name in self._macs if name.rpartition(".")[0] == path]
        return self._macs[path] - sum(self._macs[name] for name in parts)

    def _has_weights(self, path: str) -> bool:
        return any(True for _ in self._module.get_submodule(path).parameters())
