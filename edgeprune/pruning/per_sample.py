"""Gradients of every single image from one forward and one backward pass of a batch.

The loss is the sum of the images' own losses, so the gradient that arrives at a layer's output is
each image's own. Linear, convolution and LayerNorm layers hand out their input and that gradient,
from which a caller takes what it needs in closed form; all other parameters get a batch axis of
their own for the time of the pass. Ordinary weight gradients are not computed at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from edgeprune.errors import PlanError

Layer = nn.Linear | nn.Conv2d | nn.LayerNorm
Visit = Callable[[str, Layer, torch.Tensor, torch.Tensor], None]


def per_sample_pass(
    module: nn.Module, images: torch.Tensor, labels: torch.Tensor, visit: Visit
) -> dict[str, torch.Tensor]:
    """Run one batch and call ``visit(name, layer, input, gradient of output)`` for every layer.

    Args:
        module: the network, left as it was.
        images: ``(batch, 3, size, size)``.
        labels: ``(batch,)`` class indices; the loss is cross-entropy.
        visit: called during the backward pass; both tensors have the batch as first axis.

    Returns:
        Per-sample gradients of the remaining parameters, ``(batch, *parameter shape)`` with axes
        of length 1 kept as they are in the parameter.
    """
    layers = {name: layer for name, layer in module.named_modules() if _closed_form(layer)}
    owned = {id(p) for layer in layers.values() for p in layer.parameters(recurse=False)}
    free = {name: p for name, p in module.named_parameters() if id(p) not in owned}
    batched = {name: _with_batch_axis(name, p, len(images)) for name, p in free.items()}
    with _frozen(module), _visited(layers, visit, len(images)), torch.enable_grad():
        logits = torch.func.functional_call(module, batched, (images,))
        F.cross_entropy(logits, labels, reduction="sum").backward()
    return {
        name: torch.zeros_like(leaf).view(len(images), *free[name].shape)
        if leaf.grad is None
        else leaf.grad.view(len(images), *free[name].shape)
        for name, leaf in batched.items()
    }


def unfold_patches(layer: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
    """Return what each position of a convolution sees, ``(batch, positions, inputs * kernel)``.

    Raises:
        PlanError: for grouped convolutions, which no supported family has.
    """
    if layer.groups != 1 or isinstance(layer.padding, str):
        raise PlanError("per-sample gradients of grouped convolutions are not supported")
    patches = F.unfold(images, layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # type: ignore[arg-type]
    return patches.transpose(1, 2)


def layer_tokens(
    layer: Layer, x: torch.Tensor, gradient: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """View what a layer saw and the gradient of its output as ``(batch, tokens, channels)``.

    A convolution's tokens are its positions, and it sees the patch under its kernel.
    """
    if isinstance(layer, nn.Conv2d):
        return unfold_patches(layer, x), conv_tokens(gradient)
    return as_tokens(x), as_tokens(gradient)


def by_image(tensor: torch.Tensor, batch: int) -> torch.Tensor:
    """Give windows, which lie image by image on the first axis, an axis of their own."""
    if len(tensor) == batch:
        return tensor
    return tensor.reshape(batch, -1, *tensor.shape[1:])


def as_tokens(tensor: torch.Tensor) -> torch.Tensor:
    """View ``(batch, ..., channels)`` as ``(batch, tokens, channels)``."""
    return tensor.reshape(len(tensor), -1, tensor.shape[-1])


def conv_tokens(gradient: torch.Tensor) -> torch.Tensor:
    """View ``(batch, channels, height, width)`` as ``(batch, positions, channels)``."""
    return gradient.flatten(2).transpose(1, 2)


def normalised(layer: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    """Return the input of a LayerNorm with mean 0 and variance 1, before its own scale."""
    return F.layer_norm(x, layer.normalized_shape, None, None, layer.eps)


def _closed_form(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.Linear, nn.Conv2d, nn.LayerNorm))


def _with_batch_axis(name: str, parameter: nn.Parameter, batch: int) -> torch.Tensor:
    """Give every image a copy of a parameter, as a leaf that collects its own gradient."""
    value = parameter.detach()
    is_token = value.dim() == 3 and value.shape[0] == 1
    is_bias_table = value.dim() == 2
    if is_token or is_bias_table:
        value = value.expand(batch, -1, -1)
    elif value.dim() == 1:  # scales of embedding channels: (batch, 1, channels) meets tokens
        value = value.expand(batch, 1, -1)
    else:
        raise PlanError(f"per-sample gradients of parameter {name!r} are not supported")
    return value.clone().requires_grad_(True)


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Stop autograd from computing the sum that ordinary gradients are."""
    before = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    training = module.training
    module.eval().requires_grad_(False)
    try:
        yield
    finally:
        for parameter, requires_grad in before:
            parameter.requires_grad_(requires_grad)
        module.train(training)


@contextmanager
def _visited(layers: dict[str, nn.Module], visit: Visit, batch: int) -> Iterator[None]:
    def hook(name: str) -> Callable[[nn.Module, Any, torch.Tensor], None]:
        def on_forward(layer: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
            seen = [by_image(inputs[0].detach(), batch)]
            if not output.requires_grad:  # the first layer: nothing before it is trained
                output.requires_grad_(True)

            def on_backward(gradient: torch.Tensor) -> None:
                # let go, as autograd does on its way back; the graph keeps this function to the end
                visit(name, layer, seen.pop(), by_image(gradient, batch))

            output.register_hook(on_backward)

        return on_forward

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
