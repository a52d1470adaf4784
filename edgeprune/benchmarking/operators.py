"""Where the time of a call goes, by kind of operator: from ONNX Runtime's own profile.

What pruning saves in arithmetic, it does not save in everything else that a call does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edgeprune.benchmarking.ort_profile import (
    US_PER_MS,
    duration_us,
    faster_half,
    mean_call_ms,
    read_calls,
)
from edgeprune.benchmarking.runtimes.base import Job
from edgeprune.benchmarking.runtimes.onnxruntime import OnnxSession, cpu_session
from edgeprune.benchmarking.worker import MAX_PROFILED_CALLS, timed_calls, wait_until_idle

PRODUCTS = ("MatMul", "Gemm", "FusedMatMul", "FusedGemm")
LINEAR, ATTENTION = "linear layers", "attention products"
OTHER, OUTSIDE = "other operators", "outside operators"
KINDS: dict[str, tuple[str, ...]] = {
    LINEAR: PRODUCTS,
    ATTENTION: ("Attention", "MultiHeadAttention"),
    "softmax": ("Softmax", "BiasSoftmax"),
    "normalisation": ("LayerNormalization", "SkipLayerNormalization"),
    "activation": ("Gelu", "BiasGelu", "FastGelu", "QuickGelu", "Erf", "Tanh", "Sigmoid"),
    "adding, scaling": ("Add", "Sub", "Mul", "Div"),
    "moving data": (
        *("Transpose", "Reshape", "Concat", "Split", "Slice", "Gather", "Expand"),
        *("Squeeze", "Unsqueeze", "Shape", "ReorderInput", "ReorderOutput"),
    ),
    "convolution": ("Conv", "FusedConv"),
    OTHER: (),
}
_KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}

# Rounds of ordinary calls and of profiled ones take turns.
ROUNDS = 8


@dataclass(frozen=True)
class Breakdown:
    """Where one call's milliseconds go: the mean of the faster half of the calls.

    Attributes:
        operators_ms: time in operators, by kind.
        call_ms: a whole call while nothing is profiled.
        profiled_ms: a whole call while it is: noting every operator costs time.
    """

    operators_ms: Mapping[str, float]
    call_ms: float
    profiled_ms: float

    def ms(self, kind: str) -> float:
        """Return the milliseconds of a kind; OUTSIDE is what no operator takes."""
        if kind == OUTSIDE:
            return self.call_ms - sum(self.operators_ms.values())
        return self.operators_ms[kind]

    def scaled(self, call_ms: float) -> Breakdown:
        """Return the same shares of a call that takes ``call_ms``."""
        factor = call_ms / self.call_ms
        operators_ms = {kind: ms * factor for kind, ms in self.operators_ms.items()}
        return Breakdown(operators_ms, call_ms, self.profiled_ms * factor)


def break_down(
    path: Path, *, threads: int, batch: int = 1, seconds: float = 3.0, seed: int = 0
) -> Breakdown:
    """Run an ONNX file on the CPU with and without profiling, in turns.

    Args:
        path: the file; it takes images.
        threads: compute threads.
        batch: images per call.
        seconds: of timed calls of either, at most; never above 300 calls.
        seed: of the images.

    Raises:
        ModelError, UsageError: if the file does not take such images.
    """
    import onnxruntime

    job = Job(path.stem, "onnxruntime", str(path), "cpu", batch, threads, seed)
    with TemporaryDirectory(prefix="edgeprune-profile-") as scratch:
        plain = cpu_session(onnxruntime, job)
        profiled = cpu_session(onnxruntime, job, Path(scratch) / "calls")
        runs = [OnnxSession(onnxruntime, session, job).run for session in (plain, profiled)]
        warm_s = min(timed_calls(runs[0], seconds / ROUNDS)) / 1e9
        timed_calls(runs[1], 0)
        window_s = min(seconds, MAX_PROFILED_CALLS * warm_s) / ROUNDS
        calls: list[int] = []
        for _ in range(ROUNDS):
            calls += timed_calls(runs[0], window_s)
            wait_until_idle()
            timed_calls(runs[1], window_s)
            wait_until_idle()
        events = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
    operators_ms, profiled_ms = read_profile(events, skip=1)
    faster = sorted(calls)[: (len(calls) + 1) // 2]
    return Breakdown(operators_ms, float(np.mean(faster)) / 1e6, profiled_ms)


def read_profile(events: Sequence[dict[str, Any]], *, skip: int) -> tuple[dict[str, float], float]:
    """Return milliseconds per kind of operator and per call, of the faster half of the calls.

    Args:
        events: ONNX Runtime's profile of one session.
        skip: calls at the beginning that do not count.

    Raises:
        ValueError: if no call is left.
    """
    calls = faster_half(read_calls(events, skip=skip))
    spent_us = dict.fromkeys(KINDS, 0.0)
    for call in calls:
        for event in call.operators:
            spent_us[_kind(event["args"])] += duration_us(event)
    operators_ms = {kind: us / len(calls) / US_PER_MS for kind, us in spent_us.items()}
    return operators_ms, mean_call_ms(calls)


def losses_ms(dense: Breakdown, pruned: Breakdown, macs_ratio: float) -> dict[str, float]:
    """Return by kind what a call of the pruned model takes beyond the dense one's over the ratio.

    If every kind had become faster as MACs became fewer, all would be 0; their sum is the pruned
    call minus the dense one over ``macs_ratio``.
    """
    return {kind: pruned.ms(kind) - dense.ms(kind) / macs_ratio for kind in (*KINDS, OUTSIDE)}


def _kind(arguments: Mapping[str, Any]) -> str:
    """Return the kind of an operator, from what the profile says of one run of it."""
    name = arguments["op_name"]
    if name in PRODUCTS:
        shapes = [shape for entry in arguments["input_type_shape"] for shape in entry.values()]
        # weights have two axes, and are not listed where the runtime has rearranged them
        return ATTENTION if sum(len(shape) > 2 for shape in shapes) >= 2 else LINEAR
    return _KIND_OF.get(name, OTHER)
