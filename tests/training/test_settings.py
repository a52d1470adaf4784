from __future__ import annotations

import math
from typing import Any

import pytest

from edgeprune.errors import UsageError
from edgeprune.training import FinetuneSettings


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 1, "epochs": 1},
        {"steps": 0},
        {"epochs": -1},
        {"batch_size": 0},
        {"eval_every": 0},
        {"checkpoint_every": 0},
        {"lr": 0.0},
        {"lr": math.nan},
        {"lr": math.inf},
        {"clip_norm": 0.0},
        {"temperature": -1.0},
        {"weight_decay": -0.1},
        {"warmup_share": 1.1},
        {"label_smoothing": 1.0},
        {"distill_weight": -0.1},
        {"layer_decay": 0.0},
        {"mixup": -0.1},
        {"mixup": math.inf},
        {"drop_path": 1.0},
        {"average": "emma"},
        {"ema_decay": 1.0},
        {"swad_start_patience": 0},
        {"swad_end_patience": 0},
        {"swad_tolerance": 0.9},
        {"precision": "fp8"},
        {"selection": "target"},
        {"average": "swad", "selection": "last"},
        {"device": "tpu"},
        {"seed": -1},
    ],
    ids=str,
)
def test_values_outside_their_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        FinetuneSettings(**values)
    for name, value in values.items():
        assert name in str(caught.value)
        assert str(value) in str(caught.value)


def test_limits_are_accepted() -> None:
    FinetuneSettings(warmup_share=1.0, label_smoothing=0.0, distill_weight=1.0, weight_decay=0.0)


def test_epochs_are_rounded_up_to_steps() -> None:
    assert FinetuneSettings(epochs=2, batch_size=32).total_steps(33) == 3
    assert FinetuneSettings(steps=7).total_steps(10**6) == 7
    assert FinetuneSettings(batch_size=10).total_steps(100) == 100


def test_five_evaluations_by_default() -> None:
    assert FinetuneSettings().evaluation_interval(100) == 20
    assert FinetuneSettings().evaluation_interval(3) == 1
    assert FinetuneSettings(eval_every=7).evaluation_interval(100) == 7
    assert FinetuneSettings(average="swad").evaluation_interval(100) == 2


def test_checkpoints_do_not_decide_the_result() -> None:
    assert FinetuneSettings(checkpoint_every=1).decisive() == FinetuneSettings().decisive()
    assert FinetuneSettings(seed=1).decisive() != FinetuneSettings().decisive()
