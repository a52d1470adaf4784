"""Averages of a model's weights over the steps of its training."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from edgeprune.errors import ModelError
from edgeprune.schema import HistoryPoint

Tensors = dict[str, torch.Tensor]


class Average:
    """No average: what is scored and kept are the weights themselves.

    Attributes:
        module: what evaluations score.
        ended: whether more training would change nothing.
        steps: first and last step of the average that the run ends with, if it ends with one.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.ended = False
        self.steps: tuple[int, int] | None = None

    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 1."""

    def evaluated(self, history: Sequence[HistoryPoint]) -> None:
        """Take note of the evaluation that was added to ``history``."""

    def result(self) -> Tensors | None:
        """Return the weights that the run ends with; None: those of the best evaluation."""
        return None

    def summary(self) -> str | None:
        """Return one sentence on what :meth:`result` is, if there is something to say."""
        return None

    def parts(self) -> dict[str, Tensors]:
        """Return what a resumed run needs: averages on the CPU, by the steps ``FIRST-LAST``."""
        return {}

    def restore(self, parts: dict[str, Tensors], history: Sequence[HistoryPoint]) -> None:
        """Put back what :meth:`parts` returned."""


class Ema(Average):
    """The exponential moving average (Polyak and Juditsky, 1992): it is scored and kept.

    The decay of step t is the smaller of ``decay`` and ``(1 + t) / (10 + t)``: an average over the
    last tenth of the steps, until that is longer than ``decay`` lets it be.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__(copy.deepcopy(module))
        self._trained = module
        self._decay = decay
        self._step = 0

    def update(self, step: int) -> None:
        """See :meth:`Average.update`."""
        decay = min(self._decay, (1 + step) / (10 + step))
        move(self.module.state_dict(), self._trained.state_dict(), 1 - decay)
        self._step = step

    def parts(self) -> dict[str, Tensors]:
        """See :meth:`Average.parts`."""
        return {f"1-{self._step}": weights(self.module)}

    def restore(self, parts: dict[str, Tensors], history: Sequence[HistoryPoint]) -> None:
        """See :meth:`Average.restore`."""
        ((steps, tensors),) = parts.items()
        self.module.load_state_dict(tensors)
        self._step = int(steps.split("-")[1])


def check_can_be_averaged(module: nn.Module) -> None:
    """Refuse a module whose statistics belong to the weights they were gathered with.

    Raises:
        ModelError: if it has batch normalisation.
    """
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            raise ModelError(
                f"weights cannot be averaged: {name!r} is batch normalisation, whose statistics"
                " would not fit the average",
                hint="--average none trains it",
            )


@torch.no_grad()
def move(average: Tensors, towards: Tensors, share: float) -> None:
    """Move every tensor of ``average`` by a share of its distance to that of ``towards``."""
    for name, value in average.items():
        if value.is_floating_point():
            value.lerp_(towards[name].to(value.device), share)


def weights(module: nn.Module) -> Tensors:
    """Return a copy of all weights on the CPU."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous()
        for name, value in module.state_dict().items()
    }
