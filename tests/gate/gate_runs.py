"""Bench results as the harness writes them, from latencies that a test chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.benchmarking.raw import pack
from edgeprune.benchmarking.results import latency
from edgeprune.benchmarking.rounds import Recording, WarmUp
from edgeprune.schema import BenchResult, Comparison, Measurement, Memory

ENVIRONMENT = {
    "cpu": "Example CPU @ 2.50 GHz",
    "machine": "x86_64",
    "available_cores": 2,
    "cpu_limit": None,
    "governor": "performance",
    "busy_cores": 0.02,
    "versions": {"edgeprune": "0.1.0", "onnxruntime": "1.32.0"},
}


def rounds(ms: float, *, spread: float = 0.01, count: int = 20, calls: int = 30, seed: int = 0):
    generator = np.random.default_rng(seed)
    return [ms * np.exp(spread * generator.standard_normal(calls)) for _ in range(count)]


def measurement(model: str, ms: float = 5.0, *, taken: Any = None, **changes: Any) -> Measurement:
    taken = rounds(ms, seed=len(model)) if taken is None else taken
    times = latency(Recording(tuple(taken), WarmUp()), seed=0)
    facts: dict[str, Any] = {
        "model": model,
        "artifact": None,
        "file": f"{model}.onnx",
        "runtime": "onnxruntime",
        "device": "cpu",
        "precision": "fp32",
        "batch": 1,
        "threads": 1,
        "latency_ms": times,
        "throughput_ips": 1000 / times.mean,
        "memory_mb": Memory(weights=80.0, peak_rss=200.0, device_peak=None),
        "energy_mj": None,
        "samples": sum(map(len, taken)),
        "estimated": False,
        "raw": pack(taken),
    }
    return Measurement(**{**facts, **changes})


def bench(*rows: Measurement, compare: tuple[tuple[str, str], ...] = (), **environment: Any):
    comparisons = [
        Comparison(model=model, baseline=base, batch=1, speedup=1.0, ci95=(0.9, 1.1))
        for model, base in compare
    ]
    return BenchResult(
        environment={**ENVIRONMENT, **environment},
        measurements=list(rows),
        comparisons=comparisons,
    )


def write(path: Path, result: BenchResult) -> Path:
    path.write_text(result.to_json(), encoding="utf-8")
    return path
