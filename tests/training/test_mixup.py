from __future__ import annotations

import math

import pytest
import torch

from edgeprune.training import FinetuneSettings
from edgeprune.training.mixup import mixup
from edgeprune.training.objective import objective

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
# Every image is its number, so that a mixed one tells whom it was mixed with.
IMAGES = torch.arange(8.0).reshape(8, 1, 1, 1).expand(8, 3, 4, 4)


def test_images_and_labels_are_mixed_alike() -> None:
    images, targets = mixup(IMAGES, LABELS, 3, 0.4, seed=0, step=0)
    assert images.shape == IMAGES.shape
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    shares = {round(float(value), 4) for value in targets.flatten()} - {0.0, 1.0}
    (share,) = {max(value, round(1 - value, 4)) for value in shares}
    partners = []
    for number in range(8):
        mixed = float(images[number, 0, 0, 0])
        assert bool((images[number] == mixed).all())
        weights = [s for s in (share, 1 - share) if _whole((mixed - s * number) / (1 - s))]
        partner = round((mixed - weights[0] * number) / (1 - weights[0]))
        partners.append(partner)
        expected = torch.zeros(3)
        expected[LABELS[number]] += weights[0]
        expected[LABELS[partner]] += 1 - weights[0]
        torch.testing.assert_close(targets[number], expected, atol=1e-3, rtol=0)
    assert sorted(partners) == list(range(8))


def _whole(value: float) -> bool:
    return -0.01 < value < 7.01 and math.isclose(value, round(value), abs_tol=0.01)


def test_seed_and_step_alone_decide() -> None:
    first = mixup(IMAGES, LABELS, 3, 0.4, seed=1, step=5)
    torch.manual_seed(99)
    again = mixup(IMAGES, LABELS, 3, 0.4, seed=1, step=5)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    for seed, step in ((2, 5), (1, 6)):
        assert not torch.equal(mixup(IMAGES, LABELS, 3, 0.4, seed, step)[0], first[0])


@pytest.mark.parametrize(("alpha", "even"), [(0.05, False), (200.0, True)])
def test_alpha_says_how_evenly(alpha: float, even: bool) -> None:
    nearest = [
        float((mixup(IMAGES, LABELS, 3, alpha, 0, step)[1] - 0.5).abs().min()) for step in range(40)
    ]
    assert (sum(distance < 0.1 for distance in nearest) > 20) == even


def test_the_loss_of_mixed_labels_is_the_mean_of_both_smoothed_losses() -> None:
    settings = FinetuneSettings(label_smoothing=0.2)
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.3, -2.0]])
    one, other = torch.tensor([0, 2]), torch.tensor([1, 1])
    targets = 0.7 * torch.eye(3)[one] + 0.3 * torch.eye(3)[other]
    expected = 0.7 * objective(logits, one, None, settings) + 0.3 * objective(
        logits, other, None, settings
    )
    torch.testing.assert_close(objective(logits, targets, None, settings), expected)
