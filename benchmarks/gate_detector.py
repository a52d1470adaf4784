"""The gate as a detector: how often it cries wolf, how often it sleeps. By simulation, seeded.

Latencies are drawn as they are seen on real machines, and taken in rounds by the harness itself:
lognormal calls, a level that differs from round to round, a clock that wanders, and another
program that comes and goes, slows every call down by a factor and preempts some.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.record import machine
from edgeprune.benchmarking.rounds import measure
from edgeprune.benchmarking.runtimes.base import Loaded
from edgeprune.benchmarking.stats import Samples
from edgeprune.benchmarking.workers import Peaks, Round
from edgeprune.gate.check import MAX_TIME_S, MIN_TIME_S
from edgeprune.gate.judge import judge
from edgeprune.gate.limits import Limits
from edgeprune.gate.machines import distrust

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
    that wanders over tens of rounds, ``run`` that between two runs. ``busy`` is the share of the
    time in which another program runs, for ``burst_s`` on average.
    """

    call: float = 0.03
    round_: float = 0.015
    clock: float = 0.0
    run: float = 0.01
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
        self.generator = generator
        self.now_s = 0.0
        self.level = noise.run * generator.standard_normal()
        self.clock = noise.clock * generator.standard_normal()
        self.disturbed = bool(generator.random() < noise.busy)
        self._begin_spell()

    def round(self, latency_s: float, seconds: float) -> list[int]:
        """Return the nanoseconds of calls that take ``seconds`` or a little more."""
        noise, draw = self.noise, self.generator
        self.clock = 0.98 * self.clock + 0.2 * noise.clock * draw.standard_normal()
        level = self.level + self.clock + noise.round_ * draw.standard_normal()
        end_s = self.now_s + seconds
        calls = []
        while self.now_s < end_s:
            while self.now_s >= self.until_s:
                self.disturbed = not self.disturbed
                self._begin_spell()
            call_s = latency_s * float(np.exp(level + noise.call * draw.standard_normal()))
            if self.disturbed:
                call_s *= self.factor
                if draw.random() < 0.1:  # preempted for a slice of the scheduler
                    call_s += 0.004 * draw.random()
            calls.append(int(call_s * 1e9))
            self.now_s += call_s
        return calls

    def _begin_spell(self) -> None:
        busy, mean_s = self.noise.busy, self.noise.burst_s
        if not self.disturbed:
            mean_s = mean_s * (1 - busy) / busy if busy else float("inf")
        self.until_s = self.now_s + (
            float(self.generator.exponential(mean_s)) if np.isfinite(mean_s) else float("inf")
        )
        self.factor = float(self.generator.uniform(1.2, 1.9))


class SimulatedWorker:
    """A model of a given latency on a simulated machine."""

    def __init__(self, where: SimulatedMachine, latency_s: float) -> None:
        self.where = where
        self.latency_s = latency_s

    def load(self) -> Loaded:
        return Loaded(img_size=32, precision="fp32")

    def round(self, seconds: float, lead_in_s: float) -> Round:
        self.where.round(self.latency_s, lead_in_s)
        samples = self.where.round(self.latency_s, seconds)
        self.where.now_s += REST_S
        return Round(samples)

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
        baseline, current = measure(workers, min_time_s=seconds, seed=seed)
        return Simulated(baseline.rounds, current.rounds, {})
    machines = [SimulatedMachine(noise, generator) for _ in latencies]
    # What bench sees of other programs before it starts.
    busy = [{"busy_cores": float(where.disturbed)} for where in machines]
    rounds = [
        measure([SimulatedWorker(where, latency)], min_time_s=seconds, seed=seed)[0].rounds
        for where, latency in zip(machines, latencies, strict=True)
    ]
    return Simulated(rounds[0], rounds[1], distrust(busy[1], busy[0]))


def verdicts(
    noise: Noise,
    factor: float,
    *,
    interleaved: bool,
    trials: int,
    limit: str = LIMIT,
    resamples: int = 600,
) -> dict[str, float]:
    """Return the share of each verdict over ``trials`` simulated checks."""
    (bound,) = Limits.parse(max_regression=[limit]).latency
    generator = np.random.default_rng(2504)
    counts = {"failed": 0, "inconclusive": 0, "passed": 0}
    for _ in range(trials):
        verdict, seconds = "inconclusive", MIN_TIME_S
        while verdict == "inconclusive" and seconds <= MAX_TIME_S:
            taken = simulate(
                noise, factor, interleaved=interleaved, seconds=seconds, generator=generator
            )
            verdict = judge(
                taken.current,
                taken.baseline,
                bound,
                interleaved=interleaved,
                seconds=seconds,
                resamples=resamples,
            ).verdict
            if verdict in taken.distrust:
                verdict = "inconclusive"
            if not interleaved:
                break  # what was stored is not measured again
            seconds *= 2
        counts[verdict] += 1
    return {verdict: count / trials for verdict, count in counts.items()}


def run(trials: int = 200) -> dict[str, Any]:
    """Count verdicts on identical models and on one that is 15 % slower."""
    rows = []
    for interleaved, limit in itertools.product((True, False), (LIMIT, f"p95:{LIMIT}")):
        for name, noise in MACHINES.items():
            same, slower = (
                verdicts(noise, factor, interleaved=interleaved, trials=trials, limit=limit)
                for factor in (1.0, SLOWER)
            )
            met = same["failed"] <= FALSE_ALARMS and slower["failed"] >= CAUGHT
            rows.append(
                {
                    "baseline": "--against" if interleaved else "stored",
                    "limit": limit,
                    "machine": name,
                    "identical: failed": _percent(same["failed"]),
                    "inconclusive": _percent(same["inconclusive"]),
                    "15 % slower: failed": _percent(slower["failed"]),
                    "passed": _percent(slower["passed"]),
                    "target": "met" if met else "missed",
                }
            )
    return {"name": f"the gate as a detector, {trials} checks", "machine": machine(), "rows": rows}


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
