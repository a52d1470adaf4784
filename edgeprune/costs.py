"""Counting parameters and multiply-accumulates."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgeprune.schema import Cost


def count(module: nn.Module, img_size: int) -> Cost:
    """Count parameters, and MACs of one ``(1, 3, img_size, img_size)`` forward pass.

    MACs are half of what :class:`torch.utils.flop_counter.FlopCounterMode` counts: matrix
    products, convolutions and both products of attention. The pass runs on the meta device: it
    costs no arithmetic, and the fused CPU kernel would hide attention from the counter.
    """
    return Cost(
        params=sum(parameter.numel() for parameter in module.parameters()),
        macs=_counted(module, img_size).get_total_flops() // 2,
    )


def macs_by_module(module: nn.Module, img_size: int) -> dict[str, int]:
    """Return the MACs of every module that has any, with those of its parts, by path."""
    counts = _counted(module, img_size).get_flop_counts()
    paths = {name.partition(".")[2]: sum(ops.values()) // 2 for name, ops in counts.items()}
    paths.pop("")  # the network as a whole
    return paths


def _counted(module: nn.Module, img_size: int) -> FlopCounterMode:
    state = dict(module.named_parameters()) | dict(module.named_buffers())
    meta = {name: tensor.detach().to("meta") for name, tensor in state.items()}
    image = torch.zeros(1, 3, img_size, img_size, device="meta")
    training = module.training
    module.eval()
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            torch.func.functional_call(module, meta, (image,))
    finally:
        module.train(training)
    return counter
