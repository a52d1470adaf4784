"""Giving standard layers other widths, with empty parameters; and the place of a lost block."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgeprune.errors import ModelError


def resize_parameter(module: nn.Module, name: str, axis: int, size: int) -> None:
    """Replace ``module.name`` by an empty parameter with ``size`` entries along ``axis``."""
    old = getattr(module, name)
    if old is None:
        return
    shape = list(old.shape)
    shape[axis] = size
    setattr(module, name, nn.Parameter(torch.empty(shape, device=old.device, dtype=old.dtype)))


def resize_linear(
    layer: nn.Linear, *, inputs: int | None = None, outputs: int | None = None
) -> None:
    """Give a linear layer other numbers of inputs and outputs."""
    if inputs is not None:
        resize_parameter(layer, "weight", 1, inputs)
        layer.in_features = inputs
    if outputs is not None:
        resize_parameter(layer, "weight", 0, outputs)
        resize_parameter(layer, "bias", 0, outputs)
        layer.out_features = outputs


def resize_conv_outputs(layer: nn.Conv2d, outputs: int) -> None:
    """Give a convolution another number of filters."""
    resize_parameter(layer, "weight", 0, outputs)
    resize_parameter(layer, "bias", 0, outputs)
    layer.out_channels = outputs


def resize_norm(layer: nn.Module, width: int) -> None:
    """Give a LayerNorm another width; anything else (an identity) is left alone."""
    if isinstance(layer, nn.LayerNorm):
        resize_parameter(layer, "weight", 0, width)
        resize_parameter(layer, "bias", 0, width)
        layer.normalized_shape = (width,)


def require_norm(layer: nn.Module) -> None:
    """Refuse a norm that is not a LayerNorm; an identity is no norm.

    Raises:
        ModelError: naming its kind.
    """
    if not isinstance(layer, (nn.LayerNorm, nn.Identity)):
        raise ModelError(f"norms of kind {type(layer).__name__} are not supported yet")


def require_absent(module: Any, names: tuple[str, ...]) -> None:
    """Refuse a module on which any of ``names`` is set to more than None or an identity.

    Raises:
        ModelError: naming the first that is.
    """
    for name in names:
        part = getattr(module, name, None)
        if part is not None and not isinstance(part, nn.Identity):
            raise ModelError(f"models with {name!r} are not supported yet")


class Dropped(nn.Module):
    """Stands where a residual block was removed: the tokens pass unchanged.

    It keeps the names of the blocks after it as they were.
    """

    def forward(self, x: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        """Return ``x``; what the block would have been given besides is ignored."""
        return x


def drop(module: nn.Module, path: str) -> None:
    """Replace the residual block at ``path``, in place."""
    module.set_submodule(path, Dropped())
