"""The first-order change of the loss."""

from __future__ import annotations

import torch

from edgeprune.pruning.first_order import first_order_sums
from edgeprune.pruning.metrics.base import Scores, Scoring, metric


@metric("taylor", needs_data=True)
def taylor(scoring: Scoring) -> Scores:
    """First-order change of the loss: mean over images of ``|sum_w g_w w|`` over a channel.

    Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, the sum taken
    over all weights of the group and the absolute value per image, so that images do not cancel
    each other.
    """
    totals = {group.name: torch.zeros(group.channels) for group, _ in scoring.groups}
    images_seen = 0
    for images, labels in scoring.batches:
        sums = first_order_sums(scoring.module, images, labels)
        for group, members in scoring.groups:
            per_image = torch.zeros(len(images), group.channels)
            for member in members:
                per_image += sums[member.parameter, member.axis][:, member.index]
            totals[group.name] += per_image.abs().sum(0)
        images_seen += len(images)
    return {name: total / max(images_seen, 1) for name, total in totals.items()}
