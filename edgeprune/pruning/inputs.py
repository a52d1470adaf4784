"""What layers see while images pass through a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from edgeprune.pruning.fisher import Batch


def watch_inputs(
    module: nn.Module,
    layers: Sequence[str],
    batches: Iterable[Batch],
    look: Callable[[str, torch.Tensor], None],
) -> None:
    """Run all batches and call ``look(name, input)`` whenever one of ``layers`` runs.

    Args:
        module: the network, left as it was.
        layers: paths of modules whose first argument has channels as its last axis.
        batches: images and labels; the labels are not looked at.
        look: takes the path and the input as ``(tokens, channels)``, all images together.
    """

    def hook(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def on_call(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            look(name, inputs[0].detach().reshape(-1, inputs[0].shape[-1]))

        return on_call

    handles = [module.get_submodule(n).register_forward_pre_hook(hook(n)) for n in layers]
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            for images, _ in batches:
                module(images)
    finally:
        module.train(training)
        for handle in handles:
            handle.remove()
