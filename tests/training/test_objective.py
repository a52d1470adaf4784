from __future__ import annotations

import pytest
import torch

from edgeprune.training import FinetuneSettings
from edgeprune.training.objective import distillation, objective

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.3, -2.0]])
OTHER = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 2.0, 0.1]])
LABELS = torch.tensor([0, 2])


def test_distillation_is_zero_for_equal_logits_and_any_shift_of_them() -> None:
    assert distillation(LOGITS, LOGITS, 3.0).item() == 0.0
    assert distillation(LOGITS, LOGITS + 5.0, 3.0).item() == pytest.approx(0.0, abs=1e-6)


def test_distillation_is_the_divergence_from_the_teacher() -> None:
    teacher, student = (OTHER / 2).softmax(-1), (LOGITS / 2).softmax(-1)
    expected = 4.0 * (teacher * (teacher / student).log()).sum(-1).mean()
    assert distillation(LOGITS, OTHER, 2.0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_objective_mixes_labels_and_teacher() -> None:
    settings = FinetuneSettings(label_smoothing=0.0, distill_weight=0.25, temperature=2.0)
    labels_only = -LOGITS.log_softmax(-1)[[0, 1], LABELS].mean()
    assert objective(LOGITS, LABELS, None, settings).item() == pytest.approx(labels_only.item())
    mixed = 0.75 * labels_only + 0.25 * distillation(LOGITS, OTHER, 2.0)
    assert objective(LOGITS, LABELS, OTHER, settings).item() == pytest.approx(mixed.item())


def test_label_smoothing_keeps_sure_answers_from_costing_nothing() -> None:
    sure = torch.tensor([[50.0, 0.0, 0.0]])
    plain = objective(sure, LABELS[:1], None, FinetuneSettings(label_smoothing=0.0))
    smooth = objective(sure, LABELS[:1], None, FinetuneSettings(label_smoothing=0.3))
    assert plain.item() == pytest.approx(0.0)
    assert smooth.item() == pytest.approx(50.0 * 0.3 * 2 / 3)
