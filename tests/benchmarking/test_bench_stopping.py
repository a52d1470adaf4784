from __future__ import annotations

import numpy as np
import pytest

from edgeprune.benchmarking.rounds import MAX_MORE_ROUNDS, Recording, further_rounds, measure
from edgeprune.benchmarking.stats import median_interval
from edgeprune.benchmarking.stopping import StopRule, half_width, parse_precision
from edgeprune.benchmarking.workers import RecordedWorker
from edgeprune.errors import UsageError

MS = 1_000_000
STEADY = [[4 * MS] * 5]


def wandering(spread: float) -> list[list[int]]:
    """Rounds of 10 ms whose level differs from one to the next by about ``spread``."""
    levels = 10 * np.exp(spread * np.random.default_rng(0).standard_normal(400))
    return [[int(level * MS)] * 15 for level in levels]


def run(*recorded: list[list[int]], rule: StopRule) -> list[Recording]:
    return measure([RecordedWorker(rounds) for rounds in recorded], rule=rule, seed=0)


def test_it_stops_after_the_least_time_where_that_is_precise_enough() -> None:
    (steady,) = run(STEADY, rule=StopRule.of(3.0, precision=0.01))
    assert (steady.stopped_by, len(steady.rounds)) == ("precision", 20)


def test_it_goes_on_until_every_median_is_precise_enough() -> None:
    rounds = wandering(0.04)
    steady, wandered = run(STEADY, rounds, rule=StopRule.of(3.0, 60.0, precision=0.01))
    assert steady.stopped_by == wandered.stopped_by == "precision"
    assert 40 < len(wandered.rounds) < 260
    assert len(steady.rounds) == len(wandered.rounds)
    assert half_width(wandered.rounds, 0) <= 0.01 < half_width(wandered.rounds[:20], 0)


def test_it_stops_when_the_time_is_over_and_says_so() -> None:
    (wandered,) = run(wandering(0.3), rule=StopRule.of(3.0, 6.0, precision=0.01))
    assert (wandered.stopped_by, len(wandered.rounds)) == ("max_time", 40)
    (short,) = run(wandering(0.3), rule=StopRule.of(3.0, 3.0, precision=0.01))
    assert (short.stopped_by, len(short.rounds)) == ("max_time", 20)


def test_without_a_target_the_least_time_is_the_time() -> None:
    (wandered,) = run(wandering(0.3), rule=StopRule.of(3.0))
    assert (wandered.stopped_by, len(wandered.rounds)) == ("min_time", 20)


def test_further_rounds_are_as_long_as_a_turn_and_of_bounded_number() -> None:
    assert further_rounds(27.0, 0.15) == 180
    assert further_rounds(27.0, 3.0) == 9
    assert further_rounds(0.0, 0.15) == 0
    assert further_rounds(3600.0, 0.002) == MAX_MORE_ROUNDS


def test_the_half_width_is_relative_to_the_median() -> None:
    rounds = [np.asarray(taken, np.float64) for taken in wandering(0.1)[:30]]
    low, high = median_interval(rounds, seed=3)
    median = float(np.median(np.concatenate(rounds)))
    assert half_width(rounds, 3) == pytest.approx((high - low) / 2 / median)


def test_times_and_targets_that_make_no_sense_are_refused() -> None:
    assert StopRule.of(3.0) == StopRule(3.0, 30.0, None)
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="min-time"):
            StopRule.of(seconds)
    for most in (2.9, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="max-time"):
            StopRule.of(3.0, most)
    for target in (0.0, 1.0, float("nan")):
        with pytest.raises(UsageError, match="precision-target"):
            StopRule.of(3.0, None, target)


def test_a_target_is_given_in_percent() -> None:
    assert parse_precision("1%") == 0.01
    assert parse_precision(" 0.5 % ") == 0.005
    assert parse_precision("none") is None
    for text in ("1", "0%", "100%", "-1%", "fast", ""):
        with pytest.raises(UsageError, match=r"between 0% and 100%, such as 1%, or none"):
            parse_precision(text)
