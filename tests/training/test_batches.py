from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.training.batches import DomainBatches, prefetched


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    batch_size=st.integers(1, 12),
    seed=st.integers(0, 3),
)
def test_domains_get_equal_shares_and_every_image_its_turn(
    sizes: list[int], batch_size: int, seed: int
) -> None:
    batches = DomainBatches(sizes, batch_size, seed)
    drawn = [batches.indices(step) for step in range(30)]
    assert all(len(indices) == batch_size for indices in drawn)
    starts = np.cumsum([0, *sizes])
    per_domain = [
        [int(i) for indices in drawn for i in indices if low <= i < high]
        for low, high in pairwise(starts)
    ]
    counts = [len(stream) for stream in per_domain]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == 30 * batch_size
    for stream, size in zip(per_domain, sizes, strict=True):
        times = Counter(stream).values()
        assert max(times) - (min(times) if len(times) == size else 0) <= 1


def test_a_step_does_not_depend_on_those_before_it() -> None:
    asked_in_order = DomainBatches([7, 5, 9], 8, seed=3)
    expected = [asked_in_order.indices(step) for step in range(20)]
    for step in (19, 4, 11, 0):
        np.testing.assert_array_equal(DomainBatches([7, 5, 9], 8, 3).indices(step), expected[step])


def test_seed_and_epoch_change_the_order() -> None:
    first = DomainBatches([50], 50, seed=0)
    assert sorted(first.indices(0)) == sorted(first.indices(1)) == list(range(50))
    assert list(first.indices(0)) != list(first.indices(1))
    assert list(first.indices(0)) != list(DomainBatches([50], 50, seed=1).indices(0))


@pytest.mark.parametrize("steps", [range(0), range(3, 4), range(2, 9)])
def test_prefetching_keeps_the_order(steps: range) -> None:
    assert list(prefetched(lambda step: step * step, steps)) == [step * step for step in steps]


def test_prefetching_raises_where_the_batch_is_due() -> None:
    def make(step: int) -> int:
        if step == 2:
            raise ValueError("unreadable")
        return step

    stream = prefetched(make, range(5))
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(ValueError, match="unreadable"):
        next(stream)
