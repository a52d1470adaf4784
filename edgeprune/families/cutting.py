"""What torch-pruning must know to trace our own layers, and to cut those of ``attention.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn
from torch_pruning import BasePruningFunc

from edgeprune.families.attention import (
    HeadMixer,
    LatentMixer,
    Packed,
    PackedKV,
    PackedQKV,
)
from edgeprune.families.prunable import Prunable

PrunerT = TypeVar("PrunerT", bound=type[BasePruningFunc])

_PRUNERS: dict[type[nn.Module], type[BasePruningFunc]] = {}


def cuts(*kinds: type[nn.Module]) -> Callable[[PrunerT], PrunerT]:
    """Register a class of pruning functions for layers of exactly these classes."""

    def add(pruner: PrunerT) -> PrunerT:
        _PRUNERS.update(dict.fromkeys(kinds, pruner))
        return pruner

    return add


def kept(count: int, removed: Sequence[int]) -> torch.Tensor:
    """Return which of ``count`` channels stay, ascending."""
    return torch.tensor(sorted(set(range(count)) - set(removed)))


@cuts(PackedQKV, PackedKV)
class PackedPruner(BasePruningFunc):  # type: ignore[misc]
    """Cuts a channel of :class:`Packed`: one row of every part."""

    TARGET_MODULES = Packed

    def prune_out_channels(self, layer: Packed, idxs: Sequence[int]) -> Packed:
        """Remove the rows of channels ``idxs``."""
        keep = kept(layer.channels, idxs)
        rows = torch.cat([keep + part * layer.channels for part in range(layer.parts)])
        layer.weight = nn.Parameter(layer.weight.detach()[rows])
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias.detach()[rows])
        layer.out_features = len(rows)
        return layer

    def prune_in_channels(self, layer: Packed, idxs: Sequence[int]) -> Packed:
        """Remove the columns of embedding channels ``idxs``."""
        keep = kept(layer.in_features, idxs)
        layer.weight = nn.Parameter(layer.weight.detach()[:, keep])
        layer.in_features = len(keep)
        return layer

    def get_out_channels(self, layer: Packed) -> int:
        """Return the number of channels of one part."""
        return layer.channels

    def get_in_channels(self, layer: Packed) -> int:
        """Return the number of embedding channels."""
        return layer.in_features


@cuts(HeadMixer)
class HeadMixerPruner(BasePruningFunc):  # type: ignore[misc]
    """Cuts channels of :class:`HeadMixer`: whole heads, or as many dims from every head."""

    TARGET_MODULES: type[HeadMixer] = HeadMixer

    def prune_out_channels(self, layer: HeadMixer, idxs: Sequence[int]) -> HeadMixer:
        """Remove channels ``idxs``; what is left of every head must be equally wide."""
        left = torch.ones(layer.heads * layer.head_dim, dtype=torch.bool)
        left[list(idxs)] = False
        dims_left = left.view(layer.heads, layer.head_dim).sum(1)
        heads_left = torch.nonzero(dims_left).flatten()
        widths = dims_left[heads_left].unique()
        if len(widths) != 1:
            raise ValueError("every head that stays must keep the same number of dims")
        if layer.dims_are_tied and int(widths[0]) != layer.head_dim:
            raise ValueError("dims that heads share cannot be cut")
        layer.keep_heads(heads_left)
        layer.head_dim = int(widths[0])
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: HeadMixer) -> int:
        """Return ``heads * head_dim``."""
        return layer.heads * layer.head_dim

    get_in_channels = get_out_channels


@cuts(LatentMixer)
class LatentMixerPruner(HeadMixerPruner):
    """Cuts channels of :class:`LatentMixer`, those of its queries included."""

    TARGET_MODULES: type[HeadMixer] = LatentMixer

    def prune_out_channels(self, layer: HeadMixer, idxs: Sequence[int]) -> HeadMixer:
        """Remove channels ``idxs``."""
        assert isinstance(layer, LatentMixer)
        keep = kept(layer.query.shape[2], idxs)
        layer.query = nn.Parameter(layer.query.detach()[:, :, keep])
        return super().prune_out_channels(layer, idxs)

    prune_in_channels = prune_out_channels


def pruners() -> dict[type[nn.Module], BasePruningFunc]:
    """Return fresh pruning functions for our own layers, as torch-pruning wants them."""
    return {kind: pruner() for kind, pruner in _PRUNERS.items()}


@contextmanager
def traced(module: nn.Module) -> Iterator[None]:
    """Let our own layers show their channels to a dependency graph instead of computing."""
    parts = [part for part in module.modules() if isinstance(part, Prunable)]
    for part in parts:
        part.tracing = True
    try:
        yield
    finally:
        for part in parts:
            part.tracing = False
