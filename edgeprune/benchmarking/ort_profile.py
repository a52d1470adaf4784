"""What ONNX Runtime's profile says of the operators of a call.

Read in the measuring process, too, which must load nothing heavy.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from edgeprune.benchmarking.runtimes.base import Operator, Profile

V = TypeVar("V")

US_PER_MS = 1e3
SUFFIX = "_kernel_time"
# They move nothing, or need not: what the cheapest of them takes is what noting an operator costs.
VIEWS = ("Flatten", "Identity", "Reshape", "Shape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class Call:
    """One profiled call: how long it took, and the operators that ran in it, in their order."""

    duration_us: int
    operators: Sequence[Mapping[str, Any]]


def read_calls(events: Sequence[dict[str, Any]], *, skip: int) -> list[Call]:
    """Return the calls in the profile of one session, the fastest first.

    Args:
        events: the profile.
        skip: calls at the beginning that do not count.

    Raises:
        ValueError: if no call is left.
    """
    calls = sorted((e["ts"], e["dur"]) for e in events if e["name"] == "model_run")
    if len(calls) <= skip:
        raise ValueError(f"a profile of {len(calls)} calls, of which {skip} do not count")
    starts = [start for start, _ in calls]
    ran: list[list[dict[str, Any]]] = [[] for _ in calls]
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(SUFFIX):
            ran[bisect.bisect_right(starts, event["ts"]) - 1].append(event)
    found = [Call(duration, own) for (_, duration), own in zip(calls, ran, strict=True)]
    return sorted(found[skip:], key=lambda call: call.duration_us)


def faster_half(values: Sequence[V]) -> Sequence[V]:
    """Return the first half of what is sorted, the one in the middle too."""
    return values[: (len(values) + 1) // 2]


def duration_us(event: Mapping[str, Any]) -> float:
    """Return how long an operator took: whole microseconds are noted, rounded down."""
    return float(event["dur"]) + 0.5


def mean_call_ms(calls: Sequence[Call]) -> float:
    """Return how long calls took on average while they were profiled."""
    return float(np.mean([call.duration_us for call in calls])) / US_PER_MS


def read_operators(events: Sequence[dict[str, Any]], *, skip: int) -> Profile:
    """Return the operators of a call, each with the mean time of the faster half of its runs.

    Noting an operator takes some microseconds, as long as a small one runs. They are taken off.

    Raises:
        ValueError: if no call is left after ``skip``.
    """
    calls = read_calls(events, skip=skip)
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for call in calls:
        for event in call.operators:
            found[event["name"], event["args"]["node_index"]].append(event)
    one_us = [_mean_us(runs) for runs in found.values()]
    kinds = [str(runs[0]["args"]["op_name"]) for runs in found.values()]
    noting_us = min(
        (us for us, kind in zip(one_us, kinds, strict=True) if kind in VIEWS), default=None
    )
    operators = [
        Operator(
            name=name.removesuffix(SUFFIX),
            kind=kind,
            # in a loop it runs several times in a call
            ms=max(us - (noting_us or 0.0), 0.0) * len(runs) / len(calls) / US_PER_MS,
            written_bytes=sum(int(run["args"]["output_size"]) for run in runs) // len(calls),
        )
        for ((name, _), runs), us, kind in zip(found.items(), one_us, kinds, strict=True)
    ]
    return Profile(
        operators,
        calls=len(calls),
        call_ms=mean_call_ms(faster_half(calls)),
        noting_ms=noting_us / US_PER_MS if noting_us is not None else None,
    )


def _mean_us(runs: Sequence[Mapping[str, Any]]) -> float:
    return float(np.mean(faster_half(sorted(map(duration_us, runs)))))
