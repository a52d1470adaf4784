from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gate_detector import MACHINES, SLOWER, verdicts
from edgeprune.benchmarking import stats
from edgeprune.benchmarking.stats import Samples
from edgeprune.gate.judge import judge
from edgeprune.gate.limits import LatencyLimit

TEN = LatencyLimit("median", 1.1)


def steady(ms: float, *, spread: float = 0.02, count: int = 20, seed: int = 0) -> list[Samples]:
    generator = np.random.default_rng(seed)
    return [ms * np.exp(spread * generator.standard_normal(40)) for _ in range(count)]


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize(
    ("factor", "verdict"), [(0.5, "passed"), (1.0, "passed"), (1.05, "passed"), (1.2, "failed")]
)
def test_clear_cases(interleaved: bool, factor: float, verdict: str) -> None:
    found = judge(steady(5 * factor, seed=1), steady(5), TEN, interleaved=interleaved, seconds=4.0)
    assert (found.verdict, found.note) == (verdict, None)
    assert found.ratio == pytest.approx(factor, rel=0.01)
    assert found.ci95[0] <= found.ratio <= found.ci95[1]


def test_an_interval_that_straddles_the_limit_says_what_would_settle_it() -> None:
    noisy = {"spread": 0.3, "count": 15}
    found = judge(
        steady(5.3, seed=1, **noisy), steady(5, **noisy), TEN, interleaved=True, seconds=3.0
    )
    assert found.verdict == "inconclusive"
    assert found.ci95[0] <= 1.1 < found.ci95[1]
    assert found.note is not None
    assert found.note.startswith("measuring each for about ")
    seconds = int(found.note.split()[4])
    # The distance to the limit is so many times smaller than the interval's reach, squared.
    reach = np.log(found.ci95[1] / found.ratio) / np.log(1.1 / found.ratio)
    assert seconds == pytest.approx(3 * reach**2, abs=1.5)


def test_on_the_limit_no_time_is_promised() -> None:
    found = judge(steady(5.5), steady(5), TEN, interleaved=False, seconds=3.0)
    assert found.verdict == "inconclusive"
    assert "longer measuring" in str(found.note)


def test_a_neighbour_of_one_run_is_no_regression_and_hides_none() -> None:
    base, busy = steady(5), steady(5, seed=1)
    busy[4:] = [2 * samples for samples in busy[4:]]
    found = judge(busy, base, TEN, interleaved=False, seconds=3.0)
    assert found.verdict == "inconclusive"
    slower = steady(6, seed=2)
    found = judge(slower, busy, TEN, interleaved=False, seconds=3.0)
    assert found.verdict == "inconclusive"
    assert "least disturbed ones 1.19x" in str(found.note)


def test_what_hits_both_sides_of_a_round_cancels_out() -> None:
    generator = np.random.default_rng(5)
    humps = np.where(generator.random(20) < 0.5, 1.0, 1.8)
    base = [hump * samples for hump, samples in zip(humps, steady(5), strict=True)]
    slow = [hump * samples for hump, samples in zip(humps, steady(5.8, seed=1), strict=True)]
    found = judge(slow, base, TEN, interleaved=True, seconds=3.0)
    assert found.verdict == "failed"
    assert found.ci95[1] - found.ci95[0] < 0.05
    assert judge(slow, base, TEN, interleaved=False, seconds=3.0).verdict == "inconclusive"


def test_a_tail_is_judged_by_its_own_limit() -> None:
    base, tail = steady(5), steady(5, seed=1)
    for samples in tail:
        samples[::10] *= 2
    assert judge(tail, base, TEN, interleaved=True, seconds=3.0).verdict == "passed"
    p95 = LatencyLimit("p95", 1.1)
    assert judge(tail, base, p95, interleaved=True, seconds=3.0).verdict == "failed"
    assert judge(tail, base, p95, interleaved=False, seconds=3.0).verdict == "failed"


def test_intervals_round_by_round_cover_the_truth() -> None:
    generator = np.random.default_rng(9)
    hits, trials = 0, 300
    for trial in range(trials):
        shared = np.exp(0.2 * generator.standard_normal(15))
        sides = [
            [ms * level * np.exp(0.1 * generator.standard_normal(9)) for level in shared]
            for ms in (2.0, 1.0)
        ]
        _, (low, high) = stats.round_by_round_ratio(*sides, seed=trial, resamples=600)
        hits += low <= 2.0 <= high
    assert 0.92 <= hits / trials <= 0.995


def test_rounds_that_resemble_their_neighbours_widen_the_interval() -> None:
    generator = np.random.default_rng(2)
    assert stats._widening(steady(5, count=60), 50) < 1.3
    walk = np.cumsum(generator.standard_normal(60)) * 0.05
    wandering = [
        samples * np.exp(level) for samples, level in zip(steady(5, count=60), walk, strict=True)
    ]
    assert stats._widening(wandering, 50) > 2
    assert stats._widening([np.ones(3)] * 5, 50) == 1.0


@pytest.mark.parametrize("machine", ["quiet", "another program, 40 % of the time"])
def test_the_gate_against_a_model_neither_cries_wolf_nor_sleeps(machine: str) -> None:
    """docs/ci.md has the whole table; here as few trials as tell a broken gate."""
    trials = {"interleaved": True, "trials": 30, "resamples": 300}
    assert verdicts(MACHINES[machine], 1.0, **trials)["failed"] == 0
    assert verdicts(MACHINES[machine], SLOWER, **trials)["failed"] >= 0.95


def test_a_stored_baseline_does_not_cry_wolf_on_a_busy_machine() -> None:
    busy = MACHINES["another program, 40 % of the time"]
    found = verdicts(busy, 1.0, interleaved=False, trials=40, resamples=300)
    assert found["failed"] == 0
