"""The gate as a detector: how often it cries wolf, how often it sleeps. By simulation, seeded.

Latencies are drawn as they are seen on real machines, and taken in rounds by the harness itself:
lognormal calls, a level that differs from round to round, a clock that wanders, and another
program that comes and goes, slows every call down by a factor and preempts some.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp, inf, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import machine
from edgeprune.benchmarking.rounds import measure
from edgeprune.benchmarking.runtimes.base import Loaded
from edgeprune.benchmarking.stats import Samples
from edgeprune.benchmarking.stopping import StopRule
from edgeprune.benchmarking.workers import Peaks, Round
from edgeprune.gate.judge import judge
from edgeprune.gate.limits import LatencyLimit, Limits
from edgeprune.gate.machines import distrust
from edgeprune.gate.settle import MAX_TIME_S, MIN_TIME_S

LATENCY_S = 0.005
SLOWER = 1.15
LIMIT = "10%"
FALSE_ALARMS, CAUGHT = 0.01, 0.95
# Between two turns the worker that had one comes to rest.
REST_S = 0.03


@dataclass(frozen=True)
class Noise:
    """How unsteady a machine is; standard deviations are of the logarithm.

    ``call`` and ``round_`` are spreads of single calls and of rounds, ``clock`` that of a level
    that wanders over tens of rounds, ``run`` that between two runs, and ``process`` that between
    two processes of one model. ``busy`` is the share of the time in which another program runs,
    for ``burst_s`` on average.
    """

    call: float = 0.03
    round_: float = 0.015
    clock: float = 0.0
    run: float = 0.01
    process: float = 0.01
    busy: float = 0.0
    burst_s: float = 1.5


MACHINES = {
    "quiet": Noise(),
    "clock wanders by 2 %": Noise(clock=0.02),
    "another program, 20 % of the time": Noise(clock=0.02, busy=0.2),
    "another program, 40 % of the time": Noise(clock=0.02, busy=0.4),
    "another program, 80 % of the time": Noise(clock=0.02, busy=0.8),
    "the same 40 % in bursts of 0.1 s": Noise(clock=0.02, busy=0.4, burst_s=0.1),
}


class SimulatedMachine:
    """A machine whose time passes only while something is measured on it."""

    def __init__(self, noise: Noise, generator: np.random.Generator) -> None:
        self.noise = noise
        self.normal = stream(generator.standard_normal)
        self.uniform = stream(generator.random)
        self.now_s = 0.0
        self.level = noise.run * next(self.normal)
        self.clock = noise.clock * next(self.normal)
        self.disturbed = next(self.uniform) < noise.busy
        self._begin_spell()

    def round(self, latency_s: float, seconds: float) -> list[int]:
        """Return the nanoseconds of calls that take ``seconds`` or a little more."""
        noise = self.noise
        self.clock = 0.98 * self.clock + 0.2 * noise.clock * next(self.normal)
        level_s = latency_s * exp(self.level + self.clock + noise.round_ * next(self.normal))
        end_s = self.now_s + seconds
        calls = []
        while self.now_s < end_s:
            while self.now_s >= self.until_s:
                self.disturbed = not self.disturbed
                self._begin_spell()
            call_s = level_s * exp(noise.call * next(self.normal))
            if self.disturbed:
                call_s *= self.factor
                if next(self.uniform) < 0.1:  # preempted for a slice of the scheduler
                    call_s += 0.004 * next(self.uniform)
            calls.append(int(call_s * 1e9))
            self.now_s += call_s
        return calls

    def _begin_spell(self) -> None:
        busy, mean_s = self.noise.busy, self.noise.burst_s
        if not self.disturbed:
            mean_s = mean_s * (1 - busy) / busy if busy else inf
        self.until_s = self.now_s - mean_s * log(1 - next(self.uniform))
        self.factor = 1.2 + 0.7 * next(self.uniform)


def stream(draw: Callable[[int], NDArray[np.float64]]) -> Iterator[float]:
    """Yield numbers one by one that are drawn by the thousand, which is much faster."""
    while True:
        yield from draw(2048).tolist()


class SimulatedWorker:
    """A model of a given latency on a simulated machine."""

    def __init__(self, where: SimulatedMachine, latency_s: float) -> None:
        self.where = where
        spread = where.noise.process * next(where.normal)
        self.latency_s = latency_s * exp(spread)

    def load(self) -> Loaded:
        return Loaded(img_size=32, precision="fp32")

    def round(self, seconds: float, lead_in_s: float, rest: bool = True) -> Round:
        lead_in_s = sum(self.where.round(self.latency_s, lead_in_s)) / 1e9
        samples = self.where.round(self.latency_s, seconds)
        rest_s = REST_S if rest else 0.0
        self.where.now_s += rest_s
        return Round(samples, beside_s=lead_in_s + rest_s)

    def transfers(self, seconds: float) -> None:
        return None

    def peaks(self) -> Peaks:
        return Peaks(None, None)


@dataclass(frozen=True)
class Simulated:
    """Rounds of a baseline and of a model, and which verdicts the gate would not believe."""

    baseline: Sequence[Samples]
    current: Sequence[Samples]
    distrust: dict[str, str]


def simulate(
    noise: Noise,
    factor: float,
    *,
    interleaved: bool,
    seconds: float,
    generator: np.random.Generator,
) -> Simulated:
    """Measure a baseline and a model that takes ``factor`` times as long, in one run or in two."""
    latencies = (LATENCY_S, LATENCY_S * factor)
    seed = int(generator.integers(1 << 31))
    if interleaved:
        where = SimulatedMachine(noise, generator)
        workers = [SimulatedWorker(where, latency) for latency in latencies]
        baseline, current = measure(workers, rule=StopRule.of(seconds), seed=seed)
        return Simulated(baseline.rounds, current.rounds, {})
    machines = [SimulatedMachine(noise, generator) for _ in latencies]
    # What bench sees of other programs before it starts.
    busy = [{"busy_cores": float(where.disturbed)} for where in machines]
    rounds = [
        measure([SimulatedWorker(where, latency)], rule=StopRule.of(seconds), seed=seed)[0].rounds
        for where, latency in zip(machines, latencies, strict=True)
    ]
    return Simulated(rounds[0], rounds[1], distrust(busy[1], busy[0]))


def verdict_of(
    noise: Noise,
    factor: float,
    limit: LatencyLimit,
    *,
    interleaved: bool,
    seconds: float,
    generator: np.random.Generator,
    resamples: int,
) -> str:
    """Return the verdict on one simulated measurement."""
    taken = simulate(noise, factor, interleaved=interleaved, seconds=seconds, generator=generator)
    found = judge(
        taken.current,
        taken.baseline,
        limit,
        interleaved=interleaved,
        seconds=seconds,
        resamples=resamples,
    )
    return "inconclusive" if found.verdict in taken.distrust else found.verdict


def verdicts(
    noise: Noise,
    factor: float,
    *,
    interleaved: bool,
    trials: int,
    limit: str = LIMIT,
    resamples: int = 400,
) -> dict[str, float]:
    """Return the share of each verdict over ``trials`` simulated checks.

    With ``interleaved`` as the gate does it: measured again if it failed, and for twice as long
    while it is inconclusive.
    """
    (bound,) = Limits.parse(max_regression=[limit]).latency
    one = partial(
        verdict_of,
        noise,
        factor,
        bound,
        interleaved=interleaved,
        generator=np.random.default_rng(2504),
        resamples=resamples,
    )
    counts = {"failed": 0, "inconclusive": 0, "passed": 0}
    for _ in range(trials):
        seconds = MIN_TIME_S
        verdict = one(seconds=seconds)
        while interleaved:
            if verdict == "failed" and one(seconds=seconds) != "failed":
                verdict = "inconclusive"
            if verdict != "inconclusive" or 2 * seconds > MAX_TIME_S:
                break
            seconds *= 2
            verdict = one(seconds=seconds)
        counts[verdict] += 1
    return {verdict: count / trials for verdict, count in counts.items()}


# The intervals of pooled percentiles take far longer: fewer of them.
CASES = (
    (True, LIMIT, 200, tuple(MACHINES)),
    (False, LIMIT, 100, tuple(MACHINES)),
    (True, f"p95:{LIMIT}", 100, ("quiet", "another program, 40 % of the time")),
)


def run() -> dict[str, Any]:
    """Count verdicts on identical models and on one that is 15 % slower."""
    rows = []
    for interleaved, limit, trials, names in CASES:
        for name in names:
            same, slower = (
                verdicts(
                    MACHINES[name], factor, interleaved=interleaved, trials=trials, limit=limit
                )
                for factor in (1.0, SLOWER)
            )
            met = same["failed"] <= FALSE_ALARMS and slower["failed"] >= CAUGHT
            rows.append(
                {
                    "baseline": "--against" if interleaved else "stored",
                    "limit": limit,
                    "machine": name,
                    "checks": trials,
                    "identical: failed": _percent(same["failed"]),
                    "inconclusive": _percent(same["inconclusive"]),
                    "15 % slower: failed": _percent(slower["failed"]),
                    "passed": _percent(slower["passed"]),
                    "target": "met" if met else "missed",
                }
            )
            print(*rows[-1].values(), sep="  ", file=sys.stderr, flush=True)
    return {"name": "the gate as a detector", "machine": machine(), "rows": rows}


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
