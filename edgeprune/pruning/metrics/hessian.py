"""The second-order change of the loss."""

from __future__ import annotations

from collections.abc import Iterable

from edgeprune.pruning.fisher import Batch, mean_squared_gradients
from edgeprune.pruning.metrics.base import Scores, Scoring, metric


@metric("hessian", needs_data=True)
def hessian(scoring: Scoring) -> Scores:
    """Second-order change of the loss: ``sum_w F_w w^2`` over a channel.

    ``F_w`` is the mean over images of the squared gradient of that image alone, the diagonal of
    the empirical Fisher matrix, which stands for the Hessian (LeCun et al., "Optimal Brain
    Damage", 1990).
    """
    return second_order(scoring, scoring.batches)


def second_order(scoring: Scoring, batches: Iterable[Batch]) -> Scores:
    """Return ``sum_w F_w w^2`` per channel, over the images of ``batches``."""
    fisher = mean_squared_gradients(scoring.module, batches)
    return scoring.sum_slices(lambda name, weights: fisher[name] * weights.square())
