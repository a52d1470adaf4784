"""Patch merging: four neighbours become one token of another width.

Channel c of the stream appears four times in the merged token, at ``c``, ``width + c`` and so on.
A dependency graph cannot follow that, so while it is traced one channel stands for all four. The
width that comes out is free: nothing ties it to twice the width that goes in.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch_pruning import BasePruningFunc

from edgeprune.families.cutting import cuts, kept
from edgeprune.families.layers import resize_linear, resize_norm
from edgeprune.families.prunable import Prunable, Slice

NEIGHBOURS = 4


class Gather(Prunable, nn.Module):
    """Neighbours side by side: ``(batch, height, width, dim) -> (.., height/2, width/2, 4 dim)``.

    Odd heights and widths are filled up with zeros.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Gather; while a graph is traced, the mean of the neighbours stands for them."""
        if self.tracing:
            return F.avg_pool2d(x.movedim(-1, 1), 2, ceil_mode=True).movedim(1, -1)
        _, height, width, _ = x.shape
        x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        batch, height, width, dim = x.shape
        x = x.reshape(batch, height // 2, 2, width // 2, 2, dim)
        return x.permute(0, 1, 3, 4, 2, 5).flatten(3)


class MergedNorm(Prunable, nn.LayerNorm):
    """LayerNorm over the channels of all neighbours (Swin)."""

    def slices(self, outputs: bool) -> list[Slice]:
        """Return four entries per channel of the stream."""
        width = self.normalized_shape[0] // NEIGHBOURS
        parameters = [p for p in (self.weight, self.bias) if p is not None]
        return [(p, 0, part * width) for p in parameters for part in range(NEIGHBOURS)]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise; while a graph is traced, show the channels of the stream."""
        return input * 1.0 if self.tracing else super().forward(input)


class MergedLinear(Prunable, nn.Linear):
    """Linear layer that reads the channels of all neighbours."""

    def slices(self, outputs: bool) -> list[Slice]:
        """Return four columns per channel of the stream, or a row per output."""
        if outputs:
            return [(p, 0, 0) for p in (self.weight, self.bias) if p is not None]
        width = self.in_features // NEIGHBOURS
        return [(self.weight, 1, part * width) for part in range(NEIGHBOURS)]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Project; while a graph is traced, one input stands for all neighbours' channel."""
        if self.tracing:
            return F.linear(input, self.weight.detach()[:, : self.in_features // NEIGHBOURS])
        return super().forward(input)


@cuts(MergedNorm)
class MergedNormPruner(BasePruningFunc):  # type: ignore[misc]
    """Cuts a channel of the stream from :class:`MergedNorm`: four entries."""

    TARGET_MODULES = MergedNorm

    def prune_out_channels(self, layer: MergedNorm, idxs: Sequence[int]) -> MergedNorm:
        """Remove the entries of channels ``idxs``."""
        keep = _kept_of_all(self.get_out_channels(layer), idxs)
        layer.weight = nn.Parameter(layer.weight.detach()[keep])
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias.detach()[keep])
        layer.normalized_shape = (len(keep),)
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: MergedNorm) -> int:
        """Return the width of the stream."""
        return int(layer.normalized_shape[0]) // NEIGHBOURS

    get_in_channels = get_out_channels


@cuts(MergedLinear)
class MergedLinearPruner(BasePruningFunc):  # type: ignore[misc]
    """Cuts a channel of :class:`MergedLinear`: an output row, or four columns."""

    TARGET_MODULES = MergedLinear

    def prune_out_channels(self, layer: MergedLinear, idxs: Sequence[int]) -> MergedLinear:
        """Remove the rows of outputs ``idxs``."""
        keep = kept(layer.out_features, idxs)
        layer.weight = nn.Parameter(layer.weight.detach()[keep])
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias.detach()[keep])
        layer.out_features = len(keep)
        return layer

    def prune_in_channels(self, layer: MergedLinear, idxs: Sequence[int]) -> MergedLinear:
        """Remove the columns of the stream's channels ``idxs``."""
        keep = _kept_of_all(self.get_in_channels(layer), idxs)
        layer.weight = nn.Parameter(layer.weight.detach()[:, keep])
        layer.in_features = len(keep)
        return layer

    def get_out_channels(self, layer: MergedLinear) -> int:
        """Return the width of the next stream."""
        return layer.out_features

    def get_in_channels(self, layer: MergedLinear) -> int:
        """Return the width of the stream that is read."""
        return layer.in_features // NEIGHBOURS


def prunable(old: Any, *, norm_first: bool) -> nn.Sequential:
    """Put timm's patch merging into prunable form, sharing its parameters.

    Args:
        old: timm's module with ``norm`` and ``reduction``.
        norm_first: whether the norm reads the gathered neighbours (Swin) or what the reduction
            gives (SwinV2).
    """
    reduction = MergedLinear(
        old.reduction.in_features, old.reduction.out_features, bias=False, device="meta"
    )
    reduction.weight = old.reduction.weight
    parts: list[tuple[str, nn.Module]] = [("gather", Gather()), ("reduction", reduction)]
    parts.insert(1 if norm_first else 2, ("norm", _merged(old.norm) if norm_first else old.norm))
    return nn.Sequential(OrderedDict(parts))


def resize(merge: Any, inputs: int, outputs: int) -> None:
    """Give a patch merging another width of the stream before and after it."""
    resize_linear(merge.reduction, inputs=NEIGHBOURS * inputs, outputs=outputs)
    norm_first = isinstance(merge.norm, MergedNorm)
    resize_norm(merge.norm, NEIGHBOURS * inputs if norm_first else outputs)


def _merged(old: nn.LayerNorm) -> MergedNorm:
    norm = MergedNorm(old.normalized_shape, eps=old.eps, device="meta")
    norm.weight, norm.bias = old.weight, old.bias
    return norm


def _kept_of_all(width: int, removed: Sequence[int]) -> torch.Tensor:
    keep = kept(width, removed)
    return torch.cat([keep + part * width for part in range(NEIGHBOURS)])
