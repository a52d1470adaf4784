"""Per-image first-order sums over weight slices, from activations alone.

For a linear layer ``y = W x + b`` with gradient g at y, the sum of ``gradient * weight`` over row
i is ``sum_t g_ti (y_ti - b_i)`` and over column j is ``sum_t x_tj (W^T g)_tj``: no weight
gradient is ever formed.
"""

from __future__ import annotations

import torch
from torch import nn

from edgeprune.pruning.per_sample import (
    Layer,
    layer_tokens,
    normalised,
    per_sample_pass,
)

# (parameter, axis) -> (batch, entries along the axis)
Sums = dict[tuple[str, int], torch.Tensor]


def first_order_sums(module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Sums:
    """Return, for every parameter and axis that channels are cut along, the slice sums of
    gradient times weight, per image.

    Args:
        module: the network; its loss is cross-entropy.
        images: ``(batch, 3, size, size)``.
        labels: ``(batch,)``.
    """
    sums: Sums = {}

    def visit(name: str, layer: Layer, x: torch.Tensor, gradient: torch.Tensor) -> None:
        _add_layer(sums, name, layer, x, gradient)

    free = per_sample_pass(module, images, labels, visit)
    parameters = dict(module.named_parameters())
    for name, gradient in free.items():
        change = gradient * parameters[name].detach()
        for axis in range(parameters[name].dim()):
            others = [a for a in range(1, change.dim()) if a != axis + 1]
            sums[name, axis] = change.sum(others) if others else change
    return sums


def _add_layer(
    sums: Sums, name: str, layer: Layer, x: torch.Tensor, gradient: torch.Tensor
) -> None:
    x, gradient = layer_tokens(layer, x, gradient)
    if isinstance(layer, nn.LayerNorm):
        if layer.weight is not None:
            change = (gradient * normalised(layer, x)).sum(1)
            sums[f"{name}.weight", 0] = change * layer.weight.detach()
    else:
        weight = layer.weight.detach().flatten(1)
        sums[f"{name}.weight", 0] = (gradient * (x @ weight.T)).sum(1)
        if isinstance(layer, nn.Linear):
            sums[f"{name}.weight", 1] = (x * (gradient @ weight)).sum(1)
    if layer.bias is not None:
        sums[f"{name}.bias", 0] = gradient.sum(1) * layer.bias.detach()
