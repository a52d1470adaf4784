"""What ``bench`` costs beside the calls that it times. Limit: 20 % of their time.

Twice: from the first turn of a worker to the end of the last, warm-up included, and the whole
installed command, which also starts processes, loads models, looks at the machine and writes a
report: some seconds, whatever it measures. Of the whole command, the calls of the warm-up stand
apart: a loop without a harness needs them too. ViT-S/16 as an ONNX file, and with it one pruned by
half.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import machine
from edgeprune.benchmarking import bench
from edgeprune.benchmarking.workers import Round, SubprocessWorker
from edgeprune.exporting.onnx import export_onnx
from edgeprune.model import DenseOptions, create
from edgeprune.pruning import PruneSettings, prune

MODEL = "vit_small_patch16_224"
SECONDS = (3, 10)
LIMIT = 0.2


def run() -> dict[str, Any]:
    """Measure one model at batch 1, and two at batches 1 and 8, on one thread and on two."""
    with tempfile.TemporaryDirectory() as scratch:
        dense, half = Path(scratch) / "dense.onnx", Path(scratch) / "half.onnx"
        model = create(MODEL, DenseOptions(pretrained=False))
        export_onnx(model, dense)
        settings = PruneSettings(ratio=0.5, metric="l1", scope="local")
        export_onnx(prune(model, settings).model, half)
        cases = [
            ([str(dense)], None, (1,), 1),
            ([str(half)], str(dense), (1, 8), 1),
            ([str(half)], str(dense), (1, 8), 2),
        ]
        rows = [_turns(*case, seconds) for case in cases for seconds in SECONDS]
        rows += [_command(*case, seconds) for case in cases for seconds in SECONDS]
    return {"name": "what bench costs beside its calls", "machine": machine(), "rows": rows}


def _turns(
    models: list[str], baseline: str | None, batches: tuple[int, ...], threads: int, seconds: int
) -> dict[str, Any]:
    """Measure from the first turn of every group of models to the end of its last."""
    taken: dict[int, list[tuple[float, float, float]]] = {}

    class Stamped(SubprocessWorker):
        def round(self, seconds: float, lead_in_s: float, rest: bool = True) -> Round:
            start = time.perf_counter()
            found = super().round(seconds, lead_in_s, rest)
            timed_s = sum(found.samples_ns) / 1e9
            turns = taken.setdefault(self._job.batch, [])
            turns.append((start, time.perf_counter(), timed_s))
            return found

    bench(
        models,
        baseline=baseline,
        batches=batches,
        threads=threads,
        min_time_s=seconds,
        precision_target=None,
        start=Stamped,
    )
    wall_s = sum(max(end for _, end, _ in turns) - turns[0][0] for turns in taken.values())
    timed_s = sum(timed for turns in taken.values() for *_, timed in turns)
    what = {"from": "first turn to last", "models": len(models) + (baseline is not None)}
    setting = {"batches": len(batches), "threads": threads, "--min-time": seconds}
    return {**what, **setting, **_judged(timed_s, wall_s), "of it warm-up calls": None}


def _command(
    models: list[str], baseline: str | None, batches: tuple[int, ...], threads: int, seconds: int
) -> dict[str, Any]:
    """Measure the installed command."""
    words = [*models, *(("--baseline", baseline) if baseline else ())]
    words += [word for batch in batches for word in ("--batch", str(batch))]
    words += ["--threads", str(threads), "--min-time", str(seconds), "--precision-target", "none"]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "edgeprune", "bench", *words, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    wall_s = time.perf_counter() - started
    measured = json.loads(done.stdout)["measurements"]
    timed_s = sum(row["samples"] * row["latency_ms"]["mean"] for row in measured) / 1e3
    warmup_s = sum(row["warmup"] * row["latency_ms"]["mean"] for row in measured) / 1e3
    what = {"from": "start of the command to its end", "models": len(measured) // len(batches)}
    setting = {"batches": len(batches), "threads": threads, "--min-time": seconds}
    judged = _judged(timed_s, wall_s)
    return {**what, **setting, **judged, "of it warm-up calls": warmup_s / timed_s}


def _judged(timed_s: float, wall_s: float) -> dict[str, Any]:
    overhead = wall_s / timed_s - 1
    return {
        "timed_s": timed_s,
        "wall_s": wall_s,
        "overhead": overhead,
        "limit": LIMIT,
        "met": overhead <= LIMIT,
    }
