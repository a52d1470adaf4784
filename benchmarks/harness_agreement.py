"""Does ``bench`` agree with a bare ONNX Runtime loop? Target: within 2 % at the median.

Both measure the same file, one right after the other, in fresh processes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.record import machine
from edgeprune.benchmarking import bench
from edgeprune.environment import available_cores, worker_environment
from edgeprune.exporting.onnx import export_onnx
from edgeprune.loading import load_model
from edgeprune.model import DenseOptions

MODEL, IMG_SIZE = "vit_tiny_patch16_224", 112
SECONDS = 2.0
TARGET = 0.02

# What anyone would write first: ten calls to warm up, then a loop.
BARE_LOOP = """
import sys, time
import numpy as np
import onnxruntime as ort

path, batch, size, threads = sys.argv[1], *map(int, sys.argv[2:])
options = ort.SessionOptions()
options.intra_op_num_threads = threads
session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
images = np.random.default_rng(0).standard_normal((batch, 3, size, size), dtype=np.float32)
for _ in range(10):
    session.run(None, {"images": images})
times = []
end = time.perf_counter() + 2
while time.perf_counter() < end:
    start = time.perf_counter()
    session.run(None, {"images": images})
    times.append(time.perf_counter() - start)
print(float(np.median(times)) * 1000)
"""


def bare(path: Path, batch: int, threads: int) -> float:
    """Return the median latency in ms of the bare loop in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", BARE_LOOP, str(path), *map(str, (batch, IMG_SIZE, threads))],
        env=worker_environment(threads),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def own(path: Path, batch: int, threads: int) -> float:
    """Return the median latency in ms as ``bench`` finds it."""
    result = bench(
        [path], batches=(batch,), threads=threads, min_time_s=SECONDS, precision_target=None
    )
    return result.measurements[0].latency_ms.p50


def compare(path: Path, batch: int, threads: int, pairs: int) -> dict[str, Any]:
    """Measure one setting both ways, in pairs; the ratio is the median of the pairs' ratios."""
    found = []
    for pair in range(pairs):
        # who goes first changes, so that a machine that slows down favours neither
        if pair % 2:
            ours, theirs = own(path, batch, threads), bare(path, batch, threads)
        else:
            theirs, ours = bare(path, batch, threads), own(path, batch, threads)
        found.append((ours, theirs))
    ratios = [ours / theirs for ours, theirs in found]
    ratio = statistics.median(ratios)
    return {
        "batch": batch,
        "threads": threads,
        "bench_ms": statistics.median(ours for ours, _ in found),
        "bare_ms": statistics.median(theirs for _, theirs in found),
        "ratio": ratio,
        "range": [min(ratios), max(ratios)],
        "target": f"1 +- {TARGET}",
        "met": abs(ratio - 1) <= TARGET,
    }


def run(pairs: int = 7) -> dict[str, Any]:
    """Compare at batch 1 and 8, on one thread and on all cores."""
    settings = sorted({(batch, threads) for batch in (1, 8) for threads in (1, available_cores())})
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        options = DenseOptions(img_size=IMG_SIZE, pretrained=False)
        export_onnx(load_model(MODEL, options), path)
        rows = [compare(path, batch, threads, pairs) for batch, threads in settings]
    return {"name": "agreement with a bare loop", "machine": machine(), "rows": rows}
