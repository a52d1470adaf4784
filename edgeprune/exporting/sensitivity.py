"""Which layers int8 harms most, from one forward and one backward pass.

Rounding changes what a layer gives by ``d``. To second order the answers of the model then move
by a Kullback-Leibler divergence of half ``d^T F d``, where F is the Fisher matrix at the layer's
output. With probabilities p and random signs e, ``u = sqrt(p) e - p (sqrt(p) . e)`` has the
covariance ``diag(p) - p p^T`` that F has at the logits; carried back to the layer it is a ``g``
for which the mean of ``(g . d)^2`` is ``d^T F d``. No model has to be quantised for it, whatever
the number of layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from onnxscript import ir
from torch import nn

from edgeprune.exporting.calibration import Range
from edgeprune.exporting.int8 import Flavour, activation_scale
from edgeprune.exporting.layers import products
from edgeprune.model import Model

Seen = tuple[torch.Tensor, torch.Tensor]


def harm(
    model: Model,
    found: ir.Model,
    ranges: Mapping[str, Range] | None,
    flavour: Flavour,
    batches: Iterable[torch.Tensor],
    seed: int = 0,
) -> dict[str, float]:
    """Return for every quantised layer the mean divergence that its rounding causes, in nats.

    Args:
        model: the network in PyTorch.
        found: the same, exported in fp32.
        ranges: of what each product takes, by the name of the value; None if they are taken
            from every batch.
        flavour: what the runtime wants.
        batches: normalised images.
        seed: of the signs.
    """
    covered = {
        product.layer: None if ranges is None else ranges[str(product.source.name)]
        for product in products(found)
        if ranges is not None or product.node.op_type == "Gemm"
    }
    totals = dict.fromkeys(covered, 0.0)
    generator = torch.Generator().manual_seed(seed)
    layers = {name: model.module.get_submodule(name) for name in covered}
    images_seen = 0
    for images in batches:
        seen = _run(model.module.eval(), layers, images, generator)
        for name, (x, gradient) in seen.items():
            with torch.no_grad():
                error = _error(layers[name], x, covered[name], flavour)
                felt = (error * gradient).flatten(1).sum(1)
                totals[name] += float(felt.square().sum())
        images_seen += len(images)
    return {name: total / (2 * max(images_seen, 1)) for name, total in totals.items()}


def _run(
    module: nn.Module,
    layers: Mapping[str, nn.Module],
    images: torch.Tensor,
    generator: torch.Generator,
) -> dict[str, Seen]:
    """Return of every layer what it takes, and the random gradient at what it gives."""
    taken: dict[str, torch.Tensor] = {}
    given: dict[str, torch.Tensor] = {}

    def hook(name: str) -> Any:
        def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            taken[name], given[name] = inputs[0].detach(), output

        return keep

    with ExitStack() as stack, torch.enable_grad():
        for name, layer in layers.items():
            stack.callback(layer.register_forward_hook(hook(name)).remove)
        logits = module(images)
        shares = logits.detach().softmax(-1)
        signs = torch.randint(0, 2, shares.shape, generator=generator) * 2 - 1
        turned = shares.sqrt() * signs
        felt = turned - shares * turned.sum(-1, keepdim=True)
        gradients = torch.autograd.grad(logits, list(given.values()), felt)
    return {name: (taken[name], own) for name, own in zip(given, gradients, strict=True)}


def _error(layer: Any, x: torch.Tensor, known: Range | None, flavour: Flavour) -> torch.Tensor:
    """Return how quantising its input and its weight changes what a layer gives."""
    scale, zero = activation_scale(known or Range(float(x.min()), float(x.max())), flavour)
    low, high = (-127, 127) if flavour.signed else (0, 255)
    rounded = ((x / scale).round() + int(zero)).clamp(low, high).sub(int(zero)).mul(scale)
    weight = layer.weight
    steps = weight.flatten(1).abs().amax(1).div(flavour.weight_levels).clamp(min=1e-20)
    column = steps.view(-1, *[1] * (weight.dim() - 1))
    coarse = (weight / column).round().mul(column)
    return _apply(layer, rounded, coarse) - _apply(layer, x, weight)


def _apply(layer: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    if isinstance(layer, nn.Conv2d):
        return F.conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
    return F.linear(x, weight)
