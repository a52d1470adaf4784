"""The file that runs on a far machine: what it may use, and that it measures as we do here."""

from __future__ import annotations

import ast
import dataclasses
import random
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.benchmarking import agent
from edgeprune.benchmarking.remote.settings import RULES
from edgeprune.benchmarking.rounds import ROUND_S, further_rounds, measure
from edgeprune.benchmarking.stopping import StopRule, half_width
from edgeprune.benchmarking.workers import RecordedWorker

MS = 1_000_000
SOURCE = Path(agent.__file__).read_text(encoding="utf-8")
ALLOWED = {"numpy", "onnxruntime"}
# Newer than Python 3.8, though its grammar takes them.
TOO_NEW = {"removeprefix", "removesuffix", "is_relative_to", "readlink", "hardlink_to", "randbytes"}


def test_it_is_written_in_python_3_8() -> None:
    tree = ast.parse(SOURCE, feature_version=(3, 8))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not used & TOO_NEW
    zips = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "zip" and node.keywords
    ]
    assert not zips


def test_it_needs_the_standard_library_and_the_runtime_only() -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(SOURCE)):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == ALLOWED
    top = {
        n.name
        for node in ast.parse(SOURCE).body
        if isinstance(node, ast.Import)
        for n in node.names
    }
    assert not top & ALLOWED


class Far:
    """A recorded worker with the agent's way of asking."""

    def __init__(self, rounds: list[list[int]]) -> None:
        self.recorded = RecordedWorker(rounds)

    def round(self, seconds: float, lead_in_s: float, rest: bool = True) -> dict[str, Any]:
        found = self.recorded.round(seconds, lead_in_s, rest)
        reply = {"samples_ns": list(found.samples_ns), "lead_in": 2, "idle": found.idle}
        return {**reply, "beside_s": found.beside_s}


@pytest.mark.parametrize("min_time_s", [0.1, 3.0, 30.0])
def test_it_warms_up_and_divides_the_time_as_a_local_bench_does(min_time_s: float) -> None:
    generator = np.random.default_rng(0)
    played = [
        [[int(ms * MS) for ms in generator.uniform(low, 3 * low, 20)] for _ in range(40)]
        for low in (1, 5)
    ]
    played[0][:6] = [[ms * MS] * 20 for ms in (80, 40, 20, 10, 10, 10)]
    rule = StopRule(min_time_s, min_time_s)
    here = measure([RecordedWorker(rounds) for rounds in played], rule=rule, seed=0)
    there = agent.measure_group(
        [Far(rounds) for rounds in played], RULES, dataclasses.asdict(rule), random.Random(0)
    )
    for local, far in zip(here, there, strict=True):
        assert far["stopped_by"] == local.stopped_by == "min_time"
        assert far["warmup"]["stop"] == local.warmup.stop
        assert far["warmup"]["rates"] == local.warmup.rates
        assert far["warmup"]["call_s"] == local.warmup.call_s
        assert [[ns / MS for ns in r] for r in far["rounds"]] == [r.tolist() for r in local.rounds]
        assert len(far["spans_ns"]) == len(far["rounds"])


def test_the_order_in_a_round_is_drawn_and_all_take_part() -> None:
    turns: list[str] = []
    asked: list[tuple[float, bool]] = []

    class Named(Far):
        def __init__(self, name: str) -> None:
            super().__init__([[MS] * 5])
            self.name = name

        def round(self, seconds: float, lead_in_s: float, rest: bool = True) -> dict[str, Any]:
            turns.append(self.name)
            asked.append((lead_in_s, rest))
            return super().round(seconds, lead_in_s, rest)

    said: list[float] = []
    rule = dataclasses.asdict(StopRule(3.0, 3.0))
    agent.measure_group([Named("a"), Named("b")], RULES, rule, random.Random(1), said.append)
    measured = turns[2 * int(RULES["windows"]) :]
    pairs = {"".join(measured[index : index + 2]) for index in range(0, len(measured), 2)}
    assert pairs == {"ab", "ba"}
    assert len(said) == len(measured) / 2
    # One that ends a round and begins the next does not cool down in between.
    same = [name == before for before, name in pairwise(turns)]
    assert [lead_in_s == 0 for lead_in_s, _ in asked[1:]] == same
    warmups = 2 * int(RULES["windows"])
    assert [rest for _, rest in asked[:warmups]] == [False, False, True] * 2
    assert [not rest for _, rest in asked[warmups:-1]] == same[warmups:]
    assert said[-1] == 1.0


def noisy(spread: float, rounds: int = 400) -> list[list[int]]:
    """Rounds of ten calls around 10 ms, whose level differs from round to round."""
    generator = np.random.default_rng(3)
    levels = 10 * MS * (1 + spread * generator.standard_normal(rounds))
    return [[int(level)] * 10 for level in levels]


@pytest.mark.parametrize(
    ("spread", "stopped_by"), [(0.001, "precision"), (0.03, "precision"), (0.5, "max_time")]
)
def test_it_stops_when_the_median_is_precise_or_the_time_is_over(
    spread: float, stopped_by: str
) -> None:
    rule = StopRule(3.0, 30.0, 0.01)
    (found,) = agent.measure_group(
        [Far(noisy(spread))], RULES, dataclasses.asdict(rule), random.Random(0)
    )
    assert found["stopped_by"] == stopped_by
    rounds = [np.asarray(samples, float) for samples in found["rounds"]]
    assert (half_width(rounds, 0) <= rule.precision) == (stopped_by == "precision")
    least, most = 20, 20 + further_rounds(27.0, ROUND_S)
    assert len(rounds) == {0.001: least, 0.5: most}.get(spread, len(rounds))
    assert least <= len(rounds) <= most


def test_a_lease_is_over_when_nobody_touches_the_file(tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    beat.touch()
    lease = agent.Lease(beat, 5.0)
    assert not lease.is_over()
    lease.since -= 10
    assert lease.is_over()
    beat.touch()
    assert not lease.is_over()
    beat.unlink()
    assert not lease.is_over()  # a change, too; the guard looks for the folder by itself


def test_facts_are_text_or_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "FILES", ("proc/version", "proc/no-such-file"))
    monkeypatch.setattr(agent, "COMMANDS", {"a": ["true"], "b": ["false"], "c": ["no-such-thing"]})
    monkeypatch.setattr(agent, "runtimes", dict)
    found = agent.facts()
    assert found["files"]["proc/version"].startswith("Linux")
    assert found["files"]["proc/no-such-file"] is None
    assert found["commands"] == {"a": "", "b": None, "c": None}
    assert 0 <= found["busy_cores"] <= found["cores"]
