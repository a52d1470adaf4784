"""Mixup: training on weighted means of two images and of their labels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

# Keeps the stream of mixing apart from those of batches and augmentation.
MIXING = 6521


def mixup(
    images: torch.Tensor, labels: torch.Tensor, classes: int, alpha: float, seed: int, step: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix every image of a batch with another one (Zhang et al., ICLR 2018).

    One share is drawn from Beta(alpha, alpha) for the batch, and a permutation of it says who is
    mixed with whom; both depend on seed and step alone. The batch holds all source domains, so
    that most images are mixed with one of another domain.

    Args:
        images: ``(batch, 3, size, size)``.
        labels: ``(batch,)``.
        classes: how many there are.
        alpha: the larger, the more even the mixing.
        seed, step: decide the mixing.

    Returns:
        Mixed images of the same shape, and the probabilities of the classes ``(batch, classes)``.
    """
    generator = np.random.default_rng([seed, MIXING, step])
    share = float(generator.beta(alpha, alpha))
    partners = torch.from_numpy(generator.permutation(len(labels)))
    targets = F.one_hot(labels, classes).to(images.dtype)
    return images.lerp(images[partners], 1 - share), targets.lerp(targets[partners], 1 - share)
