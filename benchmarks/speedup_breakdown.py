"""Where the speed-up of a pruned ViT-B goes: from the ratio of MACs to the measured one.

Times come from the bench, dense and pruned interleaved; ONNX Runtime's profile divides each by
kind of operator. ``lost_ms`` is what a pruned call takes beyond the dense one's time of that kind
over the ratio of MACs: were all of them 0, the speed-up would be that ratio.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.record import machine
from benchmarks.vit_base_speed import RATIOS, export_pruned
from edgeprune.benchmarking import bench
from edgeprune.benchmarking.operators import Breakdown, break_down, losses_ms
from edgeprune.schema import Comparison

MODEL = "vit_base_patch16_224"


def run(threads: tuple[int, ...] = (1, 2), min_time_s: float = 4.0) -> dict[str, Any]:
    """Measure and profile every file at batch 1; a row per ratio and kind, and their sum."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        files = export_pruned(MODEL, Path(scratch))
        for count in threads:
            rows += _measure(files, count, min_time_s)
    return {"name": "where the speed-up goes, ViT-B/16", "machine": machine(), "rows": rows}


def _measure(files: dict[float, Path], threads: int, min_time_s: float) -> list[dict[str, Any]]:
    result = bench(
        [files[ratio] for ratio in RATIOS],
        baseline=files[0.0],
        threads=threads,
        min_time_s=min_time_s,
        precision_target=None,
    )
    medians = {m.model: m.latency_ms.p50 for m in result.measurements}
    profiles = {
        ratio: break_down(file, threads=threads, seconds=min_time_s)
        for ratio, file in files.items()
    }
    shares = {ratio: profiles[ratio].scaled(medians[file.stem]) for ratio, file in files.items()}
    rows: list[dict[str, Any]] = []
    for ratio in RATIOS:
        (comparison,) = (c for c in result.comparisons if c.model == files[ratio].stem)
        rows += _rows(ratio, threads, shares[0.0], shares[ratio], comparison)
    return rows


def _rows(
    ratio: float, threads: int, dense: Breakdown, pruned: Breakdown, comparison: Comparison
) -> list[dict[str, Any]]:
    assert comparison.macs_ratio is not None  # the exporter writes the MACs into every file
    lost = losses_ms(dense, pruned, comparison.macs_ratio)
    total = sum(lost.values())
    figures = {kind: (dense.ms(kind), pruned.ms(kind), lost[kind]) for kind in lost}
    figures["all"] = (dense.call_ms, pruned.call_ms, total)
    rows: list[dict[str, Any]] = [
        {
            "threads": threads,
            "ratio": ratio,
            "kind": kind,
            "dense_ms": before,
            "dense_share": before / dense.call_ms,
            "pruned_ms": after,
            "pruned_share": after / pruned.call_ms,
            "speedup": before / after if after > 0 else None,
            "lost_ms": missed,
            "lost_share": missed / total,
            "macs_ratio": None,
            "speedup_ci95": None,
        }
        for kind, (before, after, missed) in figures.items()
    ]
    rows[-1] |= {
        "macs_ratio": comparison.macs_ratio,
        "speedup": comparison.speedup,
        "speedup_ci95": list(comparison.ci95),
    }
    return [*rows, _profiling(rows[-1], dense, pruned)]


def _profiling(row: dict[str, Any], dense: Breakdown, pruned: Breakdown) -> dict[str, Any]:
    """Say what profiling itself adds to a call; it is not part of the sum."""
    added = {
        "dense": dense.profiled_ms - dense.call_ms,
        "pruned": pruned.profiled_ms - pruned.call_ms,
    }
    blank = dict.fromkeys(list(row)[3:])
    figures = {f"{side}_ms": ms for side, ms in added.items()}
    figures |= {"dense_share": added["dense"] / dense.call_ms}
    figures |= {"pruned_share": added["pruned"] / pruned.call_ms}
    return {**row, **blank, **figures, "kind": "(profiling adds)"}
