"""The diagonal of the empirical Fisher matrix: the mean of squared per-sample gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from edgeprune.pruning.per_sample import (
    Layer,
    layer_tokens,
    normalised,
    per_sample_pass,
)

Batch = tuple[torch.Tensor, torch.Tensor]


def mean_squared_gradients(module: nn.Module, batches: Iterable[Batch]) -> dict[str, torch.Tensor]:
    """Return the exact mean over all images of the squared gradient of every parameter.

    For a linear layer the gradient of image b is ``sum_t g[b, t] x[b, t]^T``; each image's matrix
    is formed in one buffer, squared and added, so that memory stays at one copy of the
    parameters plus the largest layer. This is what torch-pruning's GroupHessianImportance is
    named for; there every image overwrites the last (version 1.6.1).

    Args:
        module: the network; its loss is cross-entropy.
        batches: pairs of images ``(batch, 3, size, size)`` and labels ``(batch,)``.
    """
    totals = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    for total in totals.values():
        total.requires_grad_(False)

    def visit(name: str, layer: Layer, x: torch.Tensor, gradient: torch.Tensor) -> None:
        _add_layer(totals, name, layer, x, gradient)

    images_seen = 0
    for images, labels in batches:
        for name, gradient in per_sample_pass(module, images, labels, visit).items():
            totals[name].add_(gradient.square().sum(0))
        images_seen += len(images)
    for total in totals.values():
        total.div_(max(images_seen, 1))  # in place: a second copy would double the memory
    return totals


def _add_layer(
    totals: dict[str, torch.Tensor],
    name: str,
    layer: Layer,
    x: torch.Tensor,
    gradient: torch.Tensor,
) -> None:
    """Add the squared per-sample gradients of one layer's parameters to their totals."""
    x, gradient = layer_tokens(layer, x, gradient)
    if isinstance(layer, nn.LayerNorm):
        if layer.weight is not None:
            scaled = gradient * normalised(layer, x)
            totals[f"{name}.weight"].add_(scaled.sum(1).square().sum(0))
    else:
        _add_products(totals[f"{name}.weight"].view(gradient.shape[-1], -1), x, gradient)
    if layer.bias is not None:
        totals[f"{name}.bias"].add_(gradient.sum(1).square().sum(0))


def _add_products(total: torch.Tensor, x: torch.Tensor, gradient: torch.Tensor) -> None:
    """Add ``(sum_t gradient[b, t] x[b, t]^T) ** 2`` of every image b to ``total``."""
    if x.shape[1] == 1:  # one token: the square of a product is the product of the squares
        total.add_(gradient[:, 0].square().T @ x[:, 0].square())
        return
    product = torch.empty_like(total)
    for g, tokens in zip(gradient, x, strict=True):
        torch.mm(g.T, tokens, out=product)
        total.addcmul_(product, product)
