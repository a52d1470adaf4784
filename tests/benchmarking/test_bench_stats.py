from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.benchmarking import stats


def in_rounds(
    generator: np.random.Generator, median: float, rounds: int, calls: int, shared: float
) -> list[stats.Samples]:
    """Latencies whose rounds differ by a common factor, as on a machine with neighbours."""
    effects = np.exp(shared * generator.standard_normal(rounds))
    return [median * effect * np.exp(0.02 * generator.standard_normal(calls)) for effect in effects]


def test_a_percentile_needs_enough_samples() -> None:
    samples = np.arange(1, 129, dtype=np.float64)
    assert stats.percentile(samples[:63], 90) is None
    assert stats.percentile(samples[:64], 90) == pytest.approx(57.7)
    assert stats.percentile(samples[:127], 95) is None
    assert stats.percentile(samples, 95) == pytest.approx(121.65)
    assert stats.percentile(np.ones(661), 99) is None
    assert stats.percentile(np.ones(662), 99) == 1.0


def test_outliers_are_counted_as_a_share() -> None:
    generator = np.random.default_rng(0)
    samples = 10 + generator.standard_normal(1000)
    assert stats.outlier_share(samples) == 0
    samples[:20] = 1000
    assert stats.outlier_share(samples) == pytest.approx(0.02)
    assert stats.outlier_share(np.ones(10)) == 0


@given(
    st.lists(
        st.lists(st.integers(1, 50).map(float), min_size=1, max_size=9), min_size=2, max_size=6
    ),
    st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_a_resampled_median_is_that_of_the_joined_rounds(
    rounds: list[list[float]], seed: int
) -> None:
    arrays = [np.asarray(samples) for samples in rounds]
    weights = stats._weights(len(arrays), seed, 5)
    expected = [
        np.median(np.concatenate([np.tile(a, int(n)) for a, n in zip(arrays, row, strict=True)]))
        for row in weights
    ]
    np.testing.assert_allclose(stats._resampled_percentiles(arrays, weights, 50), expected)


def test_many_samples_are_binned_with_little_loss() -> None:
    generator = np.random.default_rng(0)
    arrays = in_rounds(generator, 3.0, rounds=6, calls=4000, shared=0.05)
    weights = stats._weights(6, 1, 20)
    expected = [
        np.median(np.concatenate([np.tile(a, int(n)) for a, n in zip(arrays, row, strict=True)]))
        for row in weights
    ]
    np.testing.assert_allclose(
        stats._resampled_percentiles(arrays, weights, 50), expected, rtol=1e-3
    )


def test_intervals_cover_the_truth_as_often_as_they_claim() -> None:
    """With few, strongly correlated rounds; resampling single calls would cover about a third."""
    generator = np.random.default_rng(7)
    median_hits = speedup_hits = 0
    trials = 400
    for trial in range(trials):
        slow = in_rounds(generator, 2.0, rounds=15, calls=20, shared=0.1)
        fast = in_rounds(generator, 1.0, rounds=15, calls=20, shared=0.1)
        low, high = stats.median_interval(slow, seed=trial, resamples=600)
        median_hits += low <= 2.0 <= high
        _, (low, high) = stats.round_by_round_ratio(slow, fast, seed=trial, resamples=600)
        speedup_hits += low <= 2.0 <= high
    assert 0.92 <= median_hits / trials <= 0.99
    assert 0.92 <= speedup_hits / trials <= 0.99


def test_what_slows_whole_rounds_down_cancels_out_of_the_speedup() -> None:
    generator = np.random.default_rng(3)
    effects = np.exp(0.3 * generator.standard_normal(20))
    slow = [2.0 * effect * np.exp(0.01 * generator.standard_normal(30)) for effect in effects]
    fast = [1.0 * effect * np.exp(0.01 * generator.standard_normal(30)) for effect in effects]
    ratio, (low, high) = stats.ratio(slow, fast)
    assert ratio == pytest.approx(2.0, rel=0.03)
    assert high - low < 0.2
    _, (low, high) = stats.ratio(slow, fast[::-1])
    assert high - low > 0.3
    ratio, (low, high) = stats.round_by_round_ratio(slow, fast)
    assert ratio == pytest.approx(2.0, rel=0.01)
    assert high - low < 0.02


def test_the_same_seed_gives_the_same_interval() -> None:
    rounds = in_rounds(np.random.default_rng(0), 1.0, 15, 10, 0.1)
    assert stats.median_interval(rounds, seed=1) == stats.median_interval(rounds, seed=1)
    assert stats.median_interval(rounds, seed=1) != stats.median_interval(rounds, seed=2)


def test_t_quantiles_agree_with_the_table() -> None:
    for freedom, expected in ((4, 2.776), (14, 2.145), (19, 2.093), (59, 2.001)):
        assert stats._t_quantile(0.975, freedom) == pytest.approx(expected, rel=0.01)


def test_one_round_is_no_ground_for_an_interval() -> None:
    with pytest.raises(ValueError, match="two rounds"):
        stats.median_interval([np.ones(5)])
    with pytest.raises(ValueError, match="3 rounds of the one, 2 of the other"):
        stats.ratio([np.ones(2)] * 3, [np.ones(2)] * 2)
