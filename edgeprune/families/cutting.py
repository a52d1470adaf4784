"""What torch-pruning must know to trace and cut the layers of ``attention.py``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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


class PackedPruner(BasePruningFunc):  # type: ignore[misc]
    """Cuts a channel of :class:`Packed`: one row of every part."""

    TARGET_MODULES = Packed

    def prune_out_channels(self, layer: Packed, idxs: Sequence[int]) -> Packed:
        """Remove the rows of channels ``idxs``."""
        channels = layer.channels
        keep = torch.tensor(sorted(set(range(channels)) - set(idxs)))
        rows = torch.cat([keep + part * channels for part in range(layer.parts)])
        layer.weight = nn.Parameter(layer.weight.detach()[rows])
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias.detach()[rows])
        layer.out_features = len(rows)
        return layer

    def prune_in_channels(self, layer: Packed, idxs: Sequence[int]) -> Packed:
        """Remove the columns of embedding channels ``idxs``."""
        keep = torch.tensor(sorted(set(range(layer.in_features)) - set(idxs)))
        layer.weight = nn.Parameter(layer.weight.detach()[:, keep])
        layer.in_features = len(keep)
        return layer

    def get_out_channels(self, layer: Packed) -> int:
        """Return the number of channels of one part."""
        return layer.channels

    def get_in_channels(self, layer: Packed) -> int:
        """Return the number of embedding channels."""
        return layer.in_features


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
        if layer.relative_position_bias_table is not None:
            layer.relative_position_bias_table = nn.Parameter(
                layer.relative_position_bias_table.detach()[:, heads_left]
            )
        layer.heads = len(heads_left)
        layer.head_dim = int(widths[0])
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: HeadMixer) -> int:
        """Return ``heads * head_dim``."""
        return layer.heads * layer.head_dim

    get_in_channels = get_out_channels


class LatentMixerPruner(HeadMixerPruner):
    """Cuts channels of :class:`LatentMixer`, those of its queries included."""

    TARGET_MODULES: type[HeadMixer] = LatentMixer

    def prune_out_channels(self, layer: HeadMixer, idxs: Sequence[int]) -> HeadMixer:
        """Remove channels ``idxs``."""
        assert isinstance(layer, LatentMixer)
        keep = torch.tensor(sorted(set(range(layer.query.shape[2])) - set(idxs)))
        layer.query = nn.Parameter(layer.query.detach()[:, :, keep])
        return super().prune_out_channels(layer, idxs)

    prune_in_channels = prune_out_channels


def pruners() -> dict[type[nn.Module], BasePruningFunc]:
    """Return fresh pruning functions for the layers of attention, as torch-pruning wants them."""
    return {
        PackedQKV: PackedPruner(),
        PackedKV: PackedPruner(),
        HeadMixer: HeadMixerPruner(),
        LatentMixer: LatentMixerPruner(),
    }


@contextmanager
def traced(module: nn.Module) -> Iterator[None]:
    """Let attention show its channels to a dependency graph instead of computing."""
    parts = [part for part in module.modules() if isinstance(part, (Packed, HeadMixer))]
    for part in parts:
        part.tracing = True
    try:
        yield
    finally:
        for part in parts:
            part.tracing = False
