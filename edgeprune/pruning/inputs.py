"""What layers see while images pass through a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

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
    with (
        watched(module, layers, lambda path, x: look(path, x.detach().reshape(-1, x.shape[-1]))),
        evaluating(module),
        torch.no_grad(),
    ):
        for images, _ in batches:
            module(images)


@contextmanager
def watched(
    module: nn.Module, layers: Sequence[str], look: Callable[[str, torch.Tensor], None]
) -> Iterator[None]:
    """Call ``look(path, input)`` whenever one of ``layers`` runs, in the order in which they do."""

    def hook(path: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        return lambda layer, inputs: look(path, inputs[0])

    handles = [module.get_submodule(p).register_forward_pre_hook(hook(p)) for p in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module to evaluation for a while."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
