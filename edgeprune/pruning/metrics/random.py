"""Drawing lots."""

from __future__ import annotations

import torch

from edgeprune.pruning.metrics.base import Scores, Scoring, metric


@metric("random")
def random(scoring: Scoring) -> Scores:
    """Uniform random numbers: the floor that every other metric must beat."""
    generator = torch.Generator().manual_seed(scoring.seed)
    return {
        group.name: torch.rand(group.channels, generator=generator) for group, _ in scoring.groups
    }
