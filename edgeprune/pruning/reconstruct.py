"""Repairing in closed form what a cut breaks, from activations of the calibration images.

Inside a block, the layer that reads a group's channels is solved anew, so that from the channels
that stay it gives nearly the output that it gave from all of them: least squares, with a ridge (He
et al., ICCV 2017). On the residual stream no channel is dropped: the stream is projected onto its
principal directions, which every layer that reads or writes it absorbs (Ashkboos et al., SliceGPT,
ICLR 2024). SliceGPT changes LayerNorm to RMSNorm; here the coordinates are chosen orthogonal to the
vector of ones, where the two are the same, so the architecture stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgeprune.errors import PlanError
from edgeprune.families.base import Stream
from edgeprune.pruning.calibration import Calibration
from edgeprune.pruning.graph import Member
from edgeprune.pruning.inputs import watch_inputs

RIDGE = 1e-2

Weights = dict[str, torch.Tensor]


@dataclass
class Moments:
    """Sums over tokens of the input of a layer and of its outer products."""

    products: torch.Tensor
    sums: torch.Tensor
    count: int = 0

    @classmethod
    def of_width(cls, channels: int) -> Moments:
        """Return empty sums for ``channels`` channels."""
        return cls(torch.zeros(channels, channels), torch.zeros(channels))

    def add(self, tokens: torch.Tensor) -> None:
        """Add ``(tokens, channels)``."""
        self.products += tokens.T @ tokens
        self.sums += tokens.sum(0)
        self.count += len(tokens)

    @property
    def mean(self) -> torch.Tensor:
        """Mean input, ``(channels,)``."""
        return self.sums / self.count

    @property
    def covariance(self) -> torch.Tensor:
        """Covariance of the input, ``(channels, channels)``."""
        return self.products / self.count - torch.outer(self.mean, self.mean)


def reader_of(members: Sequence[Member]) -> str:
    """Return the linear layer that reads the channels of a group inside a block.

    Raises:
        PlanError: if there is not exactly one.
    """
    readers = [member.parameter for member in members if member.axis == 1]
    if len(readers) != 1:
        raise PlanError(f"a group with {len(readers)} reading layers cannot be reconstructed")
    return readers[0].removesuffix(".weight")


def input_moments(
    module: nn.Module, layers: Sequence[str], calibration: Calibration
) -> dict[str, Moments]:
    """Gather the moments of the inputs of ``layers`` over the calibration images."""
    widths = {name: int(_layer(module, name).weight.shape[1]) for name in layers}
    found = {name: Moments.of_width(width) for name, width in widths.items()}
    watch_inputs(module, layers, calibration.batches(), lambda name, x: found[name].add(x))
    return found


def refit(layer: nn.Linear, moments: Moments, stay: Sequence[int]) -> None:
    """Let ``layer`` give, from the inputs that ``stay``, nearly what it gave from all.

    With S the covariance of the inputs and K those that stay, the columns K become
    ``W S[:, K] (S[K, K] + ridge)^-1``, and the bias takes up the difference of the means.
    """
    keep = torch.tensor(stay)
    covariance = moments.covariance.double()
    kept = covariance[keep][:, keep]
    ridge = RIDGE * kept.diagonal().mean().clamp_min(1e-12) * torch.eye(len(keep))
    spread = torch.linalg.solve(kept + ridge, covariance[keep]).float()  # (kept, all)
    with torch.no_grad():
        fitted = layer.weight @ spread.T
        if layer.bias is not None:
            layer.bias.add_(layer.weight @ moments.mean - fitted @ moments.mean[keep])
        layer.weight[:, keep] = fitted


class StreamProjection:
    """A narrower residual stream: gathers its principal directions, then gives new weights.

    Args:
        module: the network; its norms and scales are folded into their neighbours, which does
            not change what it computes.
        stream: which layers read and write the stream.
        width: channels that stay.
        calibration: images of the source domains.
    """

    def __init__(
        self, module: nn.Module, stream: Stream, width: int, calibration: Calibration
    ) -> None:
        self._module = module
        self._stream = stream
        self._width = width
        fold(module, stream)
        names = [norm for norm, _ in stream.norms]
        products = _direction_products(module, names, calibration)
        vectors = torch.linalg.eigh(products.double()).eigenvectors
        # one direction fewer than channels: the last one keeps the mean at zero
        directions = vectors.flip(1)[:, : width - 1].float()
        self._basis = directions @ _without_mean(width)  # (old, new)
        self._kept = _kept_norms(module, names, directions, calibration)

    def move(self, tokens: torch.Tensor) -> torch.Tensor:
        """Give tokens of the whole stream, ``(..., old width)``, the new coordinates.

        Their mean goes: a norm does not see it.
        """
        moved: torch.Tensor = (tokens - tokens.mean(-1, keepdim=True)) @ self._basis
        return moved

    def weights(self, members: Sequence[Member]) -> Weights:
        """Return the new value of every parameter that has the stream as one of its axes."""
        found: Weights = {}
        parameters = dict(self._module.named_parameters())
        norms = {f"{name}.{part}" for name, _ in self._stream.norms for part in ("weight", "bias")}
        scales = {name for name, _ in self._stream.scales}
        for name, axis in {(member.parameter, member.axis) for member in members}:
            value = parameters[name].detach()
            if name in norms:
                found[name] = self._norm(name)
            elif name in scales:
                found[name] = torch.ones(self._width)
            elif axis == 1:
                found[name] = value @ self._basis
            else:
                found[name] = self._written(value, axis)
        return found

    def _written(self, value: torch.Tensor, axis: int) -> torch.Tensor:
        return self.move(value.movedim(axis, -1)).movedim(-1, axis)

    def _norm(self, name: str) -> torch.Tensor:
        layer, part = name.rsplit(".", 1)
        if part == "bias":
            return torch.zeros(self._width)
        # the norm divides by the length of what stayed, over fewer channels
        factor = (len(self._basis) / self._width) ** 0.5 * self._kept[layer]
        return torch.full((self._width,), factor)


def fold(module: nn.Module, stream: Stream) -> None:
    """Move the scales of the stream into its writers and the norms' own into its readers.

    Raises:
        PlanError: if a reader has no bias to take up that of its norm.
    """
    with torch.no_grad():
        for scale, writer in stream.scales:
            fold_scale(module, scale, writer)
        for norm_name, reader_names in stream.norms:
            norm = _layer(module, norm_name)
            for reader in (_layer(module, name) for name in reader_names):
                if reader.bias is None:
                    raise PlanError(
                        f"layer {reader_names[0]!r} has no bias: the stream cannot be projected",
                        hint="--no-reconstruct drops channels instead",
                    )
                reader.bias += reader.weight @ norm.bias
                reader.weight *= norm.weight
            norm.weight.fill_(1)
            norm.bias.zero_()


def fold_scale(module: nn.Module, scale_name: str, writer_name: str) -> None:
    """Move a parameter that scales what a linear layer writes into that layer, which is exact."""
    with torch.no_grad():
        scale, writer = module.get_parameter(scale_name), _layer(module, writer_name)
        writer.weight *= scale[:, None]
        if writer.bias is not None:
            writer.bias *= scale
        scale.fill_(1)


def assign(module: nn.Module, values: Weights) -> None:
    """Give parameters new values of the shapes that they have."""
    with torch.no_grad():
        for name, value in values.items():
            module.get_parameter(name).copy_(value)


def _without_mean(width: int) -> torch.Tensor:
    """Return orthonormal rows ``(width - 1, width)``, each orthogonal to the vector of ones."""
    generator = torch.Generator().manual_seed(0)
    start = torch.cat(
        [torch.ones(width, 1), torch.randn(width, width - 1, generator=generator)], dim=1
    )
    orthonormal: torch.Tensor = torch.linalg.qr(start.double()).Q
    return orthonormal[:, 1:].T.float()


def _direction_products(
    module: nn.Module, norms: Sequence[str], calibration: Calibration
) -> torch.Tensor:
    """Sum the outer products of what the norms see: centred tokens of length one."""
    width = len(_layer(module, norms[0]).weight)
    total = torch.zeros(width, width)

    def add(name: str, x: torch.Tensor) -> None:
        centred = x - x.mean(1, keepdim=True)
        unit = centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-12)
        total.add_(unit.T @ unit)

    watch_inputs(module, norms, calibration.batches(), add)
    return total


def _kept_norms(
    module: nn.Module, norms: Sequence[str], directions: torch.Tensor, calibration: Calibration
) -> dict[str, float]:
    """Return, per norm, the mean share of a token's length that ``directions`` keep."""
    shares: dict[str, list[torch.Tensor]] = {name: [] for name in norms}

    def add(name: str, x: torch.Tensor) -> None:
        centred = x - x.mean(1, keepdim=True)
        kept = (centred @ directions).norm(dim=1)
        shares[name].append((kept / centred.norm(dim=1).clamp_min(1e-12)).mean())

    watch_inputs(module, norms, calibration.batches(), add)
    return {name: float(torch.stack(values).mean()) for name, values in shares.items()}


def _layer(module: nn.Module, name: str) -> Any:
    return module.get_submodule(name)
