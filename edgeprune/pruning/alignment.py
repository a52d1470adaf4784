"""Keeping the pruned network's residual stream on the course of the network as it was.

Reconstruction repairs each cut by itself, with activations of the whole network; what is left of
every error travels on and adds up. Here the blocks are gone through once more in their order, and
the layer that writes a branch's result to the stream is fitted so that the stream of the pruned
network, with all errors made before, meets that of the whole one (asymmetric reconstruction:
Zhang et al., Accelerating Very Deep Convolutional Networks, PAMI 2016). Blocks that were dropped
are made up for by the next layer that writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgeprune.families.base import Branch, Family
from edgeprune.pruning.calibration import Calibration
from edgeprune.pruning.inputs import evaluating, watched
from edgeprune.pruning.reconstruct import RIDGE, Moments, fold_scale

# From the stream of the whole network, (..., old channels), to what the pruned one should hold.
Move = Callable[[torch.Tensor], torch.Tensor]


def unmoved(tokens: torch.Tensor) -> torch.Tensor:
    """Return tokens of a stream that keeps its coordinates."""
    return tokens


def align(
    module: nn.Module, whole: nn.Module, family: Family, move: Move, calibration: Calibration
) -> None:
    """Fit every layer of ``module`` that writes to its residual stream.

    Needs two passes of ``whole`` and about four of ``module`` over the calibration images, and
    room for one stream of tokens of each. Nothing happens where the family lists no branches.

    Args:
        module: the pruned network, whose weights are changed in place.
        whole: the network before it was cut.
        family: of both.
        move: gives the coordinates of the pruned stream to tokens of the whole one.
        calibration: images of the source domains.
    """
    branches = family.branches(module)
    if not branches:
        return
    for branch in (branch for found in branches.values() for branch in found):
        if branch.scale is not None:
            fold_scale(module, branch.scale, branch.writer)
    trunk = family.trunk(whole)
    with evaluating(module), evaluating(whole), torch.no_grad():
        wide = _entries(whole, trunk[0], calibration)
        narrow = _entries(module, trunk[0], calibration)
        for path in trunk:
            found = branches.get(path, ())
            after = _streams_after(whole, path, found, wide)
            for branch, streams in zip(found, after, strict=True):
                _fit(module, path, branch, narrow, [move(stream) for stream in streams])
            _advance(module, path, narrow)


@dataclass
class _Call:
    """Tokens of one batch, ``(batch, tokens, dim)``, and what else a block is called with."""

    tokens: torch.Tensor
    rest: tuple[Any, ...]
    named: dict[str, Any]

    def run(self, block: nn.Module) -> torch.Tensor:
        tokens: torch.Tensor = block(self.tokens, *self.rest, **self.named)
        return tokens


class _Arrived(Exception):  # noqa: N818  it is no error
    pass


def _entries(module: nn.Module, path: str, calibration: Calibration) -> list[_Call]:
    """Return what the first block is called with, per batch."""
    calls: list[_Call] = []

    def on_call(block: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.append(_Call(inputs[0], inputs[1:], named))
        raise _Arrived

    handle = module.get_submodule(path).register_forward_pre_hook(on_call, with_kwargs=True)
    try:
        for images, _ in calibration.batches():
            try:
                module(images)
            except _Arrived:
                continue
    finally:
        handle.remove()
    return calls


def _streams_after(
    whole: nn.Module, path: str, branches: tuple[Branch, ...], calls: list[_Call]
) -> list[list[torch.Tensor]]:
    """Run a block of the whole network; return the stream after each branch, per batch.

    ``calls`` move on to the next block.
    """
    after: list[list[torch.Tensor]] = [[] for _ in branches]
    block = whole.get_submodule(path)
    for call in calls:
        # what the next branch begins with is what this one leaves
        seen: dict[str, torch.Tensor] = {}
        with watched(whole, [branch.norm for branch in branches[1:]], seen.__setitem__):
            call.tokens = call.run(block)
        for streams, stream in zip(after, [*seen.values(), call.tokens], strict=False):
            streams.append(stream)
    return after


def _fit(
    module: nn.Module, path: str, branch: Branch, calls: list[_Call], after: list[torch.Tensor]
) -> None:
    """Fit the layer that writes a branch, so that the stream after it comes near ``after``.

    Least squares with a ridge around the weights that it has.
    """
    writer = module.get_submodule(branch.writer)
    assert isinstance(writer, nn.Linear)  # what a family lists
    width, block = writer.in_features, module.get_submodule(path)
    moments: Moments | None = None
    for call, stream in zip(calls, after, strict=True):
        seen: dict[str, torch.Tensor] = {}
        with watched(module, [branch.norm, branch.writer], seen.__setitem__):
            call.run(block)
        missing = stream - seen[branch.norm]
        both = torch.cat([seen[branch.writer], missing], dim=-1).flatten(0, -2)
        moments = moments or Moments.of_width(both.shape[1])
        moments.add(both)
    assert moments is not None  # there are calibration images
    centred = writer.bias is not None
    products = (moments.covariance if centred else moments.products / moments.count).double()
    inputs, wanted = products[:width, :width], products[:width, width:]
    ridge = RIDGE * inputs.diagonal().mean().clamp_min(1e-12) * torch.eye(width)
    left = wanted - inputs @ writer.weight.double().T
    writer.weight += torch.linalg.solve(inputs + ridge, left).T.float()
    if centred:
        writer.bias.copy_(moments.mean[width:] - writer.weight @ moments.mean[:width])


def _advance(module: nn.Module, path: str, calls: list[_Call]) -> None:
    block = module.get_submodule(path)
    for call in calls:
        call.tokens = call.run(block)
