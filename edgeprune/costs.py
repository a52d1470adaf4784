"""Counting parameters and multiply-accumulates."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgeprune.schema import Cost


def count(module: nn.Module, img_size: int) -> Cost:
    """Count parameters, and MACs of one ``(1, 3, img_size, img_size)`` forward pass.

    MACs are half of what :class:`torch.utils.flop_counter.FlopCounterMode` counts: matrix
    products, convolutions and attention. Works on the meta device, where it costs no arithmetic.
    """
    parameters = list(module.parameters())
    image = torch.zeros(1, 3, img_size, img_size, device=parameters[0].device)
    training = module.training
    module.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(image)
    finally:
        module.train(training)
    return Cost(
        params=sum(parameter.numel() for parameter in parameters),
        macs=counter.get_total_flops() // 2,
    )
