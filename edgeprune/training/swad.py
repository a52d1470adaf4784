"""SWAD: the average of the weights after every step of a valley of the validation loss.

Cha et al., "SWAD: Domain Generalization by Seeking Flat Minima" (NeurIPS 2021), algorithm 1.
The steps up to an evaluation, since the one before, are taken in or left out together, as in the
authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from edgeprune.schema import HistoryPoint
from edgeprune.training.averaging import Average, Tensors, move

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Patience:
    """When a valley starts and ends.

    Attributes:
        start: evaluations in which the first must have the lowest loss (N_s).
        end: evaluations in a row whose loss must be above the threshold (N_e).
        tolerance: the threshold, in mean losses of the evaluations that found the start (r).
    """

    start: int
    end: int
    tolerance: float


@dataclass(frozen=True)
class Valley:
    """First and last evaluation of a valley, counted from 0; None: not found yet."""

    start: int | None = None
    end: int | None = None


def find_valley(losses: Sequence[float], patience: Patience) -> Valley:
    """Return the valley in the validation losses of all evaluations so far."""
    for found in range(patience.start - 1, len(losses)):
        start = found - patience.start + 1
        window = losses[start : found + 1]
        if window[0] == min(window):
            break
    else:
        return Valley()
    threshold = patience.tolerance / patience.start * sum(window)
    for last in range(found + 1, len(losses)):
        end = last - patience.end
        # a window that reaches back to the start holds its loss, which is below the threshold
        if min(losses[max(0, end + 1) : last + 1]) > threshold:
            return Valley(start, end)
    return Valley(start)


class Mean:
    """The mean of the weights after the steps from ``first`` to ``last``."""

    def __init__(self, first: int, last: int, tensors: Tensors) -> None:
        self.first = first
        self.last = last
        self.tensors = tensors

    @property
    def count(self) -> int:
        """How many steps it is the mean of."""
        return self.last - self.first + 1

    def add(self, tensors: Tensors, step: int) -> None:
        """Take in the weights after the next step."""
        self.last = step
        move(self.tensors, tensors, 1 / self.count)

    def followed_by(self, other: Mean) -> Mean:
        """Return the mean over the steps of both."""
        tensors = {name: value.clone() for name, value in self.tensors.items()}
        move(tensors, other.tensors, other.count / (self.count + other.count))
        return Mean(self.first, other.last, tensors)

    def to(self, device: torch.device) -> Mean:
        """Return it on a device."""
        tensors = {name: value.to(device) for name, value in self.tensors.items()}
        return Mean(self.first, self.last, tensors)


class Swad(Average):
    """One mean per evaluation, of which those that can no longer come apart are merged.

    At most as many means are held as the longer patience, and one.
    """

    def __init__(self, module: nn.Module, patience: Patience) -> None:
        super().__init__(module)
        self._patience = patience
        self._open: Mean | None = None  # since the last evaluation
        self._closed: list[Mean] = []
        self._valley = Valley()

    def update(self, step: int) -> None:
        """See :meth:`Average.update`."""
        if self._open is None:
            copied = {name: value.clone() for name, value in self.module.state_dict().items()}
            self._open = Mean(step, step, copied)
        else:
            self._open.add(self.module.state_dict(), step)

    def evaluated(self, history: Sequence[HistoryPoint]) -> None:
        """See :meth:`Average.evaluated`."""
        assert self._open is not None
        self._closed.append(self._open.to(CPU))
        self._open = None
        self._look(history)
        ends = [point.step for point in history]
        first, settled = self._certain(len(ends))
        kept = [mean for mean in self._closed if first == 0 or mean.first > ends[first - 1]]
        if self._valley.end is not None:
            kept = [mean for mean in kept if mean.last <= ends[self._valley.end]]
        together = [mean for mean in kept if settled >= 0 and mean.last <= ends[settled]]
        self._closed = _merged(together) + kept[len(together) :]

    def _certain(self, count: int) -> tuple[int, int]:
        """Return the first evaluation that may be averaged, and the last to stay with it."""
        if self._valley.start is None:
            return 0, count - self._patience.start
        if self._valley.end is None:
            return self._valley.start, count - self._patience.end
        return self._valley.start, self._valley.end

    def _look(self, history: Sequence[HistoryPoint]) -> None:
        losses = [point.source_val_loss for point in history if point.source_val_loss is not None]
        self._valley = find_valley(losses, self._patience)
        self.ended = self._valley.end is not None

    def result(self) -> Tensors:
        """See :meth:`Average.result`."""
        (mean,) = self._closed = _merged(self._closed)
        self.steps = (mean.first, mean.last)
        return mean.tensors

    def summary(self) -> str:
        """See :meth:`Average.summary`."""
        first, last = self.steps or (0, 0)
        if self._valley.start is None:
            return (
                f"SWAD: no valley of the validation loss started (no {self._patience.start}"
                f" evaluations whose first was the lowest): average of all {last} steps"
            )
        ending = "" if self.ended else ", to the end: the validation loss did not rise again"
        return f"SWAD: average of the weights after steps {first} to {last}{ending}"

    def parts(self) -> dict[str, Tensors]:
        """See :meth:`Average.parts`."""
        means = self._closed + ([self._open.to(CPU)] if self._open else [])
        return {f"{mean.first}-{mean.last}": mean.tensors for mean in means}

    def restore(self, parts: dict[str, Tensors], history: Sequence[HistoryPoint]) -> None:
        """See :meth:`Average.restore`."""
        self._look(history)
        evaluated = history[-1].step if history else 0
        for steps, tensors in parts.items():
            first, last = map(int, steps.split("-"))
            mean = Mean(first, last, tensors)
            if last <= evaluated:
                self._closed.append(mean)
            else:
                self._open = mean.to(next(self.module.parameters()).device)


def _merged(means: Sequence[Mean]) -> list[Mean]:
    """Return the one mean over all steps of ``means``; none of none."""
    merged = list(means[:1])
    for mean in means[1:]:
        merged = [merged[0].followed_by(mean)]
    return merged
