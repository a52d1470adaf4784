"""Warm-up and interleaved rounds: what is measured when. Knows no runtime, only workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edgeprune.benchmarking.energy.base import Reading
from edgeprune.benchmarking.run_queue import waiting_share
from edgeprune.benchmarking.stats import Samples
from edgeprune.benchmarking.stopping import StoppedBy, StopRule, half_width
from edgeprune.benchmarking.workers import Round, Worker
from edgeprune.progress import SILENT, Progress

# Warm-up: windows until the rates of three in a row lie within 5 %; so many seconds of calls in
# windows are the most that a model gets.
WARMUP_WINDOW_S = 0.1
WARMUP_WINDOWS = 3
WARMUP_TOLERANCE = 0.05
WARMUP_CAP_S = 5.0

# Rounds: enough of them for an interval, short enough that both sides see the same machine.
ROUND_S = 0.15
MIN_ROUNDS = 15
MAX_ROUNDS = 60
# Beyond those of the minimum; all of them stay below what a reader of raw calls accepts.
MAX_MORE_ROUNDS = 240
# The interval is looked at again when there are so many more rounds: looking at it all the time
# would stop at the first lucky one.
LOOK_AGAIN = 1.1
# Before the timed calls of a turn: caches, clocks and sleeping threads come back. A call that takes
# longer than this brings them back itself: the first of a turn took at most 3 % longer than others.
LEAD_IN_S = 0.02
# A turn costs the lead-in and the wait until threads have come to rest: it lasts so long, where
# there is time, that these are no more than such a share of it.
BESIDE_SHARE = 0.15

NS_PER_MS = 1e6


@dataclass(frozen=True)
class Rhythm:
    """How long the windows of the warm-up and the rounds are, and how many there may be.

    Before the timed calls of a turn that follows another model's there are others for
    ``lead_in_s``; every turn of a program that starts ``anew`` needs them. What a turn takes
    beside its timed calls is at most ``beside_share`` of these, where there is time for as few
    turns as that.
    """

    window_s: float = WARMUP_WINDOW_S
    cap_s: float = WARMUP_CAP_S
    round_s: float = ROUND_S
    min_rounds: int = MIN_ROUNDS
    max_rounds: int = MAX_ROUNDS
    lead_in_s: float = LEAD_IN_S
    anew: bool = False
    beside_share: float = BESIDE_SHARE

    def lead_in_for(self, call_s: float, warm: bool) -> float:
        """Return the seconds of calls that are not recorded before those of a turn that are.

        A model is ``warm`` if the turn before was its own.
        """
        if self.anew or (not warm and call_s < self.lead_in_s):
            return self.lead_in_s
        return 0.0


ORDINARY = Rhythm()


@dataclass
class WarmUp:
    """How the warm-up of one model went; ``stop`` is ``stable`` or ``cap`` (the time ran out).

    ``call_s`` is the median call of the last window and ``beside_s`` what a turn takes beside its
    timed calls; ``rates`` are calls per second.
    """

    calls: int = 0
    call_s: float = 0.0
    beside_s: float = 0.0
    rates: list[float] = field(default_factory=list)
    spent_s: float = 0.0
    stop: str | None = None


@dataclass(frozen=True)
class Recording:
    """What was measured of one model: latencies in ms by round, and its warm-up.

    ``energy`` are the readings before and after the calls of each round, ``dropped`` the requests
    that came too early, ``notes`` what the program that measured warned of in the last round.
    """

    rounds: tuple[Samples, ...]
    warmup: WarmUp
    restless: int = 0
    stopped_by: StoppedBy = "min_time"
    waiting_share: float | None = None
    energy: tuple[tuple[Reading, Reading] | None, ...] = ()
    dropped: int = 0
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> Samples:
        """All latencies in ms."""
        return np.concatenate(self.rounds)


def measure(
    workers: Sequence[Worker],
    *,
    rule: StopRule,
    seed: int,
    period_s: float = 0.0,
    rhythm: Rhythm = ORDINARY,
    progress: Progress = SILENT,
    description: str = "measure",
) -> list[Recording]:
    """Warm all workers up, then measure them in rounds until ``rule`` says stop.

    In every round each worker has its turn, in an order drawn from ``seed``; the others sleep. No
    turn is shorter than the ``period_s`` at which its calls start.
    """
    warmups = warm_up(workers, rhythm, period_s)
    turns = _Turns(workers, seed, rhythm, [warmup.call_s for warmup in warmups])
    turn_s = max(period_s, shortest_turn(warmups, rhythm))
    count = round_count(rule.min_time_s, turn_s, rhythm)
    for _ in progress.track(range(count), description, total=count):
        turns.take(rule.min_time_s / count)
    stopped_by: StoppedBy = "min_time"
    if rule.precision is not None:
        stopped_by = _until_precise(turns, rule, turn_s, progress, description)
    return [
        recording_of(rounds, warmup, stopped_by)
        for rounds, warmup in zip(turns.recorded, warmups, strict=True)
    ]


def recording_of(rounds: Sequence[Round], warmup: WarmUp, stopped_by: StoppedBy) -> Recording:
    """Put the rounds of one model together."""
    return Recording(
        rounds=tuple(samples_ms(taken) for taken in rounds),
        warmup=warmup,
        restless=sum(not taken.idle for taken in rounds),
        stopped_by=stopped_by,
        waiting_share=_waiting(rounds),
        energy=tuple(taken.energy for taken in rounds),
        dropped=sum(taken.dropped for taken in rounds),
        notes=tuple(rounds[-1].notes),
    )


def samples_ms(taken: Round) -> Samples:
    """Return the latencies of a round in ms."""
    return np.asarray(taken.samples_ns, np.float64) / NS_PER_MS


def _waiting(rounds: Sequence[Round]) -> float | None:
    """Return which share of the time that a core was wanted was spent waiting for one."""
    times = [(taken.ran_ns, taken.waited_ns) for taken in rounds]
    known = [(ran, waited) for ran, waited in times if ran is not None and waited is not None]
    return waiting_share(sum(ran for ran, _ in known), sum(waited for _, waited in known))


class _Turns:
    """Rounds of all workers, in an order that is drawn anew each time.

    A worker that ends one round and begins the next stays warm, and does not rest in between.
    """

    def __init__(
        self, workers: Sequence[Worker], seed: int, rhythm: Rhythm, calls_s: Sequence[float]
    ) -> None:
        self._workers = workers
        self._rhythm = rhythm
        self._calls_s = calls_s
        self._generator = np.random.default_rng(seed)
        self._seed = seed
        self._order = self._draw()
        self._before = len(workers) - 1  # the last to warm up
        self.recorded: list[list[Round]] = [[] for _ in workers]

    def take(self, seconds: float) -> None:
        """Measure every worker once."""
        order, self._order = self._order, self._draw()
        for index, after in zip(order, [*order[1:], self._order[0]], strict=True):
            lead_in_s = self._rhythm.lead_in_for(self._calls_s[index], index == self._before)
            taken = self._workers[index].round(seconds, lead_in_s, rest=index != after)
            self.recorded[index].append(taken)
            self._before = index

    def _draw(self) -> list[int]:
        return [int(index) for index in self._generator.permutation(len(self._workers))]

    def precise(self, target: float) -> bool:
        """Tell whether the median of every worker is known well enough."""
        return all(
            half_width([samples_ms(taken) for taken in rounds], self._seed) <= target
            for rounds in self.recorded
        )


def _until_precise(
    turns: _Turns, rule: StopRule, turn_s: float, progress: Progress, description: str
) -> StoppedBy:
    """Take more rounds until every median is precise enough, or the time is over."""
    target = rule.precision or 0.0
    if turns.precise(target):
        return "precision"
    left_s = rule.max_time_s - rule.min_time_s
    most = further_rounds(left_s, turn_s)
    taken = len(turns.recorded[0])
    look_at = LOOK_AGAIN * taken
    for _ in progress.track(range(most), f"{description} until within {target:.1%}", total=most):
        turns.take(left_s / most)
        taken += 1
        if taken >= look_at:
            if turns.precise(target):
                return "precision"
            look_at = LOOK_AGAIN * taken
    return "precision" if most and turns.precise(target) else "max_time"


def warm_up(
    workers: Sequence[Worker], rhythm: Rhythm = ORDINARY, period_s: float = 0.0
) -> list[WarmUp]:
    """Run windows of every worker until its rate has settled or the cap is filled.

    One worker after the other, each of which rests after the windows that may be its last.
    """
    alone = len(workers) == 1
    window_s = max(rhythm.window_s, period_s)
    return [_warm_up_one(worker, rhythm, window_s, alone) for worker in workers]


def _warm_up_one(worker: Worker, rhythm: Rhythm, window_s: float, alone: bool) -> WarmUp:
    state, lead_in_s = WarmUp(), 0.0
    while state.stop is None:
        may_be_last = len(state.rates) >= WARMUP_WINDOWS - 1
        lead_in_s = rhythm.lead_in_for(state.call_s, alone or bool(state.rates))
        window = worker.round(window_s, lead_in_s, rest=may_be_last and not alone)
        _take_note(window, state, rhythm.cap_s, window_s)
    # A turn may need the lead-in that a window which follows another does not.
    state.beside_s += rhythm.lead_in_for(state.call_s, alone) - lead_in_s
    return state


def shortest_turn(warmups: Sequence[WarmUp], rhythm: Rhythm = ORDINARY) -> float:
    """Return the seconds of a turn that holds a call of every model, and outweighs its own cost."""
    slowest_s = max(warmup.call_s for warmup in warmups)
    beside_s = max(warmup.beside_s for warmup in warmups)
    return max(rhythm.round_s, slowest_s, beside_s / rhythm.beside_share)


def round_count(min_time_s: float, turn_s: float, rhythm: Rhythm = ORDINARY) -> int:
    """Return into how many rounds ``min_time_s`` is divided.

    Where turns would be too few, there are the fewest that still give an interval.
    """
    return int(min(max(min_time_s / turn_s, rhythm.min_rounds), rhythm.max_rounds))


def further_rounds(seconds: float, turn_s: float) -> int:
    """Return into how many rounds what may follow the minimum is divided at most."""
    return min(int(seconds / turn_s), MAX_MORE_ROUNDS)


def settled(rates: Sequence[float]) -> bool:
    """Tell whether the last windows' rates lie close enough together."""
    last = rates[-WARMUP_WINDOWS:]
    return len(last) == WARMUP_WINDOWS and max(last) <= (1 + WARMUP_TOLERANCE) * min(last)


def _take_note(window: Round, state: WarmUp, cap_s: float, window_s: float) -> None:
    """Add a window of the warm-up, and decide whether the rate has settled."""
    seconds = sum(window.samples_ns) / 1e9
    # A paced call leaves most of its window to rest.
    state.spent_s += max(seconds, window_s)
    state.calls += len(window.samples_ns) + window.lead_in
    state.call_s = float(np.median(window.samples_ns)) / 1e9
    state.beside_s = window.beside_s
    state.rates.append(len(window.samples_ns) / seconds)
    if settled(state.rates):
        state.stop = "stable"
    elif state.spent_s >= cap_s:
        state.stop = "cap"
