"""What ``bench`` costs beside the calls that it times. Limit: 20 % of their time.

The whole installed command counts: its start, loading, warm-up, the turns of the workers, intervals
and the report. ViT-S/16 as an ONNX file, and with it one pruned by half.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import machine
from edgeprune.exporting.onnx import export_onnx
from edgeprune.model import DenseOptions, create
from edgeprune.pruning import PruneSettings, prune

MODEL = "vit_small_patch16_224"
SECONDS = (3, 10)
LIMIT = 0.2


def run() -> dict[str, Any]:
    """Measure one model at batch 1, and two at batches 1 and 8, for the default time and longer."""
    with tempfile.TemporaryDirectory() as scratch:
        dense, half = Path(scratch) / "dense.onnx", Path(scratch) / "half.onnx"
        model = create(MODEL, DenseOptions(pretrained=False))
        export_onnx(model, dense)
        settings = PruneSettings(ratio=0.5, metric="l1", scope="local")
        export_onnx(prune(model, settings).model, half)
        both = (str(half), "--baseline", str(dense), "--batch", "1", "--batch", "8")
        rows = [
            _measure(what, seconds)
            for what in ((str(dense), "--batch", "1"), both)
            for seconds in SECONDS
        ]
    return {"name": "what bench costs beside its calls", "machine": machine(), "rows": rows}


def _measure(what: Sequence[str], seconds: int) -> dict[str, Any]:
    options = ("--threads", "1", "--min-time", str(seconds), "--precision-target", "none")
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "edgeprune", "bench", *what, *options, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    wall_s = time.perf_counter() - started
    measured = json.loads(done.stdout)["measurements"]
    timed_s = sum(row["samples"] * row["latency_ms"]["mean"] for row in measured) / 1e3
    overhead = wall_s / timed_s - 1
    return {
        "models and batches": len(measured),
        "--min-time": seconds,
        "timed_s": timed_s,
        "wall_s": wall_s,
        "overhead": overhead,
        "limit": LIMIT,
        "met": overhead <= LIMIT,
    }
