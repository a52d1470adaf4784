from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeprune.predictions import Integers, Logits
from edgeprune.training.figures import calibration_error, class_accuracy

LOGITS = st.integers(1, 30).flatmap(
    lambda n: st.integers(2, 6).flatmap(
        lambda classes: st.tuples(
            arrays(np.float32, (n, classes), elements=st.floats(-40, 40, width=32)),
            arrays(np.int64, (n,), elements=st.integers(0, classes - 1)),
        )
    )
)


def _plain_calibration(logits: Logits, labels: Integers, bins: int) -> float:
    """One image after another, one bin after another."""
    rows = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        exponentials = [math.exp(value - max(row)) for value in row]
        rows.append((max(exponentials) / sum(exponentials), row.index(max(row)) == label))
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [(p, right) for p, right in rows if low < p <= high]
        if inside:
            accuracy = sum(right for _, right in inside) / len(inside)
            confidence = sum(p for p, _ in inside) / len(inside)
            total += len(inside) / len(rows) * abs(accuracy - confidence)
    return 100 * total


@settings(max_examples=200, deadline=None)
@given(LOGITS)
def test_figures_are_those_of_a_plain_loop(drawn: tuple[Logits, Integers]) -> None:
    logits, labels = drawn
    found = class_accuracy(logits, labels)
    for number in range(logits.shape[1]):
        rows = [row.argmax() == number for row in logits[labels == number]]
        assert found[number] == (pytest.approx(100 * sum(rows) / len(rows)) if rows else None)
    # 16 bins: their edges are exact, so that both put equal probabilities into one bin.
    expected = _plain_calibration(logits, labels, 16)
    assert calibration_error(logits, labels, 16) == pytest.approx(expected, abs=1e-6)
    assert 0.0 <= calibration_error(logits, labels) <= 100.0


def test_calibration_of_a_known_case() -> None:
    # Sure of 4 images by 0.8, right on 2 of them: off by 30 points.
    logits = np.log(np.array([[0.8, 0.2]] * 4, dtype=np.float32))
    assert calibration_error(logits, np.array([0, 0, 1, 1])) == pytest.approx(30.0, abs=1e-3)
    assert calibration_error(logits * 100, np.array([0] * 4)) == pytest.approx(0.0, abs=1e-6)
