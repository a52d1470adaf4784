"""What is minimised: cross-entropy, and the distance to a teacher's logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from edgeprune.training.settings import FinetuneSettings


def objective(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher_logits: torch.Tensor | None,
    settings: FinetuneSettings,
) -> torch.Tensor:
    """Return the mean loss over a batch of logits ``(batch, classes)``.

    Labels are classes ``(batch,)`` or probabilities ``(batch, classes)``; both are smoothed.

    With a teacher it is ``(1 - w) * cross-entropy + w * distillation``, w being
    ``distill_weight``.
    """
    loss = F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
    if teacher_logits is None:
        return loss
    share = settings.distill_weight
    return (1 - share) * loss + share * distillation(logits, teacher_logits, settings.temperature)


def distillation(
    logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return ``T^2 * KL(teacher / T || student / T)``, mean over the batch.

    The square keeps the gradient's size independent of T (Hinton et al., 2015).
    """
    divergence = F.kl_div(
        F.log_softmax(logits / temperature, dim=-1),
        F.log_softmax(teacher_logits / temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * divergence
