"""AdamW as vision transformers want it: what decays, and how fast each layer learns when."""

from __future__ import annotations

import math
import re

import torch
from torch import nn

from edgeprune.training.settings import FinetuneSettings

# With the stage that the block is in, where there are stages.
_BLOCK = re.compile(r"(?:^|.*\.)blocks\.\d+\.")
BETAS = (0.9, 0.999)


def make_optimiser(module: nn.Module, settings: FinetuneSettings) -> torch.optim.AdamW:
    """Make AdamW (Loshchilov and Hutter, 2019) over the trainable parameters of ``module``.

    Only weights of linear and convolution layers decay: not norms, biases, tokens, position
    embeddings, position biases or LayerScale. Each group has an ``lr_share``: 1 for the
    classifier, times ``layer_decay`` per block before it.
    """
    decaying = {id(weight) for weight in _matrices(module)}
    depths = layer_depths(module)
    deepest = max(depths.values())
    groups: dict[tuple[bool, int], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((id(parameter) in decaying, depths[name]), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "weight_decay": settings.weight_decay if decays else 0.0,
                "lr_share": settings.layer_decay ** (deepest - depth),
            }
            for (decays, depth), parameters in groups.items()
        ],
        lr=settings.lr,
        betas=BETAS,
        fused=True,
    )


def layer_depths(module: nn.Module) -> dict[str, int]:
    """Return how deep each parameter lies, by name.

    What is registered before the first ``blocks.N.`` lies at 0, every block one deeper than the
    one before it, over all stages; dropped blocks do not count. What comes between two blocks lies
    with the second of them, what comes after the last one deeper. A model without blocks lies at
    0 as a whole.
    """
    depths: dict[str, int] = {}
    blocks: dict[str, int] = {}
    for name, _ in module.named_parameters():
        block = _BLOCK.match(name)
        if block:
            depths[name] = blocks.setdefault(block[0], len(blocks) + 1)
        else:
            depths[name] = len(blocks) + 1 if blocks else 0
    return depths


def set_learning_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its share of ``lr``."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["lr_share"]


def learning_rate(step: int, steps: int, settings: FinetuneSettings) -> float:
    """Return the learning rate of a step, counted from 0: linear warm-up, then half a cosine.

    It is ``lr`` at the last step of the warm-up and ``min_lr_share * lr`` at the last of all.
    """
    warmup = round(settings.warmup_share * steps)
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    progress = (step + 1 - warmup) / max(1, steps - warmup)
    floor = settings.min_lr_share
    return settings.lr * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))


def _matrices(module: nn.Module) -> list[torch.Tensor]:
    return [part.weight for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
