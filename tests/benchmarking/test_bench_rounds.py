from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from edgeprune.benchmarking import rounds
from edgeprune.benchmarking.rounds import (
    WARMUP_WINDOWS,
    Rhythm,
    WarmUp,
    measure,
    round_count,
    settled,
    shortest_turn,
    warm_up,
)
from edgeprune.benchmarking.stopping import StopRule
from edgeprune.benchmarking.workers import RecordedWorker, Round

MS = 1_000_000


class Logged(RecordedWorker):
    """Writes its name into a common log at each turn."""

    def __init__(self, name: str, log: list[str], latency_ms: int) -> None:
        super().__init__([[latency_ms * MS] * 5])
        self.name, self.log = name, log

    def round(self, seconds: float, lead_in_s: float, rest: bool = True) -> Round:
        self.log.append(self.name)
        return super().round(seconds, lead_in_s, rest)


def recorded(seed: int) -> tuple[list[str], list[rounds.Recording]]:
    log: list[str] = []
    workers = [Logged("a", log, 4), Logged("b", log, 2)]
    return log, measure(workers, rule=StopRule.of(3.0), seed=seed)


def test_every_round_has_each_worker_once_in_an_order_drawn_from_the_seed() -> None:
    log, recordings = recorded(seed=1)
    turns = log[2 * WARMUP_WINDOWS :]
    pairs = ["".join(turns[index : index + 2]) for index in range(0, len(turns), 2)]
    assert set(pairs) == {"ab", "ba"}
    assert len(pairs) == len(recordings[0].rounds) == round_count(3.0, rounds.ROUND_S) == 20
    assert recorded(seed=1)[0] == log
    assert recorded(seed=2)[0] != log


def test_warm_up_is_not_part_of_the_samples() -> None:
    _, (first, second) = recorded(seed=0)
    assert (first.warmup.stop, first.warmup.calls) == ("stable", 15)
    assert first.samples.tolist() == [4.0] * 100
    assert np.median(second.samples) == 2.0


def test_warm_up_goes_on_while_the_rate_changes() -> None:
    falling = [[ms * MS] * 10 for ms in (80, 40, 20, 10, 10, 10)]
    (state,) = warm_up([RecordedWorker(falling)], Rhythm(cap_s=100))
    assert state.stop == "stable"
    assert len(state.rates) == 6
    assert state.call_s == pytest.approx(0.010)


def test_warm_up_stops_at_the_cap_and_says_so() -> None:
    restless = RecordedWorker([[100 * MS], [300 * MS], [900 * MS]])
    (state,) = warm_up([restless], Rhythm(cap_s=5))
    assert state.stop == "cap"
    assert state.calls == 12
    assert state.spent_s == pytest.approx(5.2)


def test_rates_have_settled_when_three_in_a_row_are_within_five_percent() -> None:
    assert not settled([100.0, 100.0])
    assert settled([10.0, 100.0, 102.0, 104.9])
    assert not settled([100.0, 100.0, 106.0])


def test_long_turns_leave_the_fewest_rounds_that_allow_an_interval() -> None:
    assert round_count(3.0, 0.5) == rounds.MIN_ROUNDS
    assert round_count(0.01, rounds.ROUND_S) == rounds.MIN_ROUNDS
    assert round_count(100.0, rounds.ROUND_S) == rounds.MAX_ROUNDS


def test_a_turn_outweighs_what_it_costs() -> None:
    assert shortest_turn([WarmUp(call_s=0.004, beside_s=0.003)]) == rounds.ROUND_S
    assert shortest_turn([WarmUp(call_s=0.4), WarmUp(call_s=0.2)]) == 0.4
    turn_s = shortest_turn([WarmUp(call_s=0.004, beside_s=0.06), WarmUp(call_s=0.004)])
    assert 0.06 / turn_s == pytest.approx(rounds.BESIDE_SHARE)


def test_what_stays_warm_needs_no_lead_in() -> None:
    assert Rhythm().lead_in_for(call_s=0.001, warm=False) == rounds.LEAD_IN_S
    assert Rhythm().lead_in_for(call_s=0.1, warm=False) == 0
    assert Rhythm().lead_in_for(call_s=0.001, warm=True) == 0
    assert Rhythm(anew=True).lead_in_for(call_s=0.1, warm=True) == rounds.LEAD_IN_S


class Asked(RecordedWorker):
    """Writes down what was asked of it: its name, the lead-in, and whether it has to rest."""

    def __init__(self, name: str, asked: list[tuple[str, float, bool]]) -> None:
        super().__init__([[4 * MS] * 5])
        self.name, self.asked = name, asked

    def round(self, seconds: float, lead_in_s: float, rest: bool = True) -> Round:
        self.asked.append((self.name, lead_in_s, rest))
        return super().round(seconds, lead_in_s, rest)


def test_a_model_alone_has_no_lead_in_and_waits_for_nobody() -> None:
    asked: list[tuple[str, float, bool]] = []
    measure([Asked("a", asked)], rule=StopRule.of(1.0), seed=0)
    assert set(asked) == {("a", 0.0, False)}


def test_who_ends_a_round_and_begins_the_next_stays_warm() -> None:
    asked: list[tuple[str, float, bool]] = []
    measure([Asked("a", asked), Asked("b", asked)], rule=StopRule.of(3.0), seed=0)
    names = [name for name, *_ in asked]
    warm = [False] + [name == before for before, name in pairwise(names)]
    assert True in warm[2 * WARMUP_WINDOWS :]
    assert [lead_in_s for _, lead_in_s, _ in asked] == [
        0.0 if each else rounds.LEAD_IN_S for each in warm
    ]
    assert names[: 2 * WARMUP_WINDOWS] == ["a"] * WARMUP_WINDOWS + ["b"] * WARMUP_WINDOWS
    rests = [rest for *_, rest in asked]
    assert rests[: 2 * WARMUP_WINDOWS] == [False, False, True] * 2
    turns = slice(2 * WARMUP_WINDOWS, -1)
    assert [not rest for rest in rests[turns]] == warm[2 * WARMUP_WINDOWS + 1 :]
