from __future__ import annotations

from typing import Any

import pytest

from edgeprune.errors import UsageError
from edgeprune.schema import HistoryPoint, Made
from edgeprune.selection import chosen, comparable, selection_of

HISTORY = [
    HistoryPoint(step=1, loss=1.0, source_val=70.0, target=50.0),
    HistoryPoint(step=2, loss=0.9, source_val=90.0, target=40.0),
    HistoryPoint(step=3, loss=0.8, source_val=90.0, target=50.0),
    HistoryPoint(step=4, loss=0.7, source_val=80.0, target=30.0),
]


def test_of_equal_evaluations_the_later_is_chosen() -> None:
    assert chosen(HISTORY, "source").step == 3
    assert chosen(HISTORY, "oracle").step == 3
    assert chosen(HISTORY[:2], "oracle").step == 1
    assert chosen(HISTORY, "last").step == 4


def _made(command: str, **options: Any) -> Made:
    return Made(command=command, options=options, seed=0, versions={})


def test_the_last_training_decides_unless_the_target_ever_picked() -> None:
    assert selection_of([]) is None
    assert selection_of([_made("prune")]) is None
    assert selection_of([_made("finetune"), _made("prune")]) == "source"
    last = _made("finetune", selection="last")
    assert selection_of([_made("finetune"), last]) == "last"
    assert selection_of([_made("finetune", selection="oracle"), last]) == "oracle"
    with pytest.raises(UsageError, match="unknown selection 'best'"):
        selection_of([_made("finetune", selection="best")])


def test_only_likes_are_compared_and_oracle_never_with_the_unknown() -> None:
    assert comparable("oracle", "oracle")
    assert comparable("last", "last")
    assert comparable(None, "source")
    assert not comparable("source", "last")
    assert not comparable("oracle", None)
