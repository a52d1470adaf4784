"""What the network sends through a channel."""

from __future__ import annotations

import torch

from edgeprune.errors import PlanError
from edgeprune.pruning.inputs import watch_inputs
from edgeprune.pruning.metrics.base import Scores, Scoring, metric


@metric("activation", needs_data=True)
def activation(scoring: Scoring) -> Scores:
    """Norm of what the layers that read a channel see: ``sqrt(sum over layers of mean x_c^2)``.

    The mean goes over calibration images and tokens; the layers are the linear ones that have
    the channel as an input.

    The activation norm as in Wanda (Sun et al., ICLR 2024), without its factor of the weights.

    Raises:
        PlanError: if no layer reads a group.
    """
    readers = {
        group.name: [member for member in members if member.axis == 1]
        for group, members in scoring.groups
    }
    unread = [name for name, members in readers.items() if not members]
    if unread:
        raise PlanError(f"no layer reads the channels of {unread[0]!r}: they have no activation")
    names = {member.parameter for members in readers.values() for member in members}
    powers = _mean_squares(scoring, sorted(name.removesuffix(".weight") for name in names))
    return {
        name: torch.stack([powers[m.parameter.removesuffix(".weight")][m.index] for m in members])
        .sum(0)
        .sqrt()
        for name, members in readers.items()
    }


def _mean_squares(scoring: Scoring, layers: list[str]) -> dict[str, torch.Tensor]:
    """Return the mean square of every input of each layer, over images and tokens."""
    sums: dict[str, torch.Tensor] = {}
    tokens = dict.fromkeys(layers, 0)

    def look(name: str, x: torch.Tensor) -> None:
        sums[name] = sums.get(name, torch.zeros(x.shape[1])) + x.square().sum(0)
        tokens[name] += len(x)

    watch_inputs(scoring.module, layers, scoring.batches, look)
    return {name: total / tokens[name] for name, total in sums.items()}
