"""The size of the weights."""

from __future__ import annotations

from edgeprune.pruning.metrics.base import Scores, Scoring, metric


@metric("l1")
def l1(scoring: Scoring) -> Scores:
    """Sum of absolute weights of a channel: ``sum |w|``.

    Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, over the whole group.
    """
    return scoring.sum_slices(lambda _, weights: weights.abs())


@metric("l2")
def l2(scoring: Scoring) -> Scores:
    """Euclidean norm of all weights of a channel: ``sqrt(sum w^2)``.

    The other norm of Li et al., ICLR 2017, over the whole group.
    """
    squares = scoring.sum_slices(lambda _, weights: weights.square())
    return {name: total.sqrt() for name, total in squares.items()}
