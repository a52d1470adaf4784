"""Speed-up of pruned ViT-B, DeiT-B and BEiT-B over dense, ONNX Runtime fp32 on this CPU.

Random weights: speed depends on widths alone. Dense and pruned files come from the same exporter
and are measured interleaved in one run.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.record import machine
from edgeprune.benchmarking import bench
from edgeprune.exporting.onnx import export_onnx
from edgeprune.model import DenseOptions, create, random_model
from edgeprune.pruning import PruneSettings, prune

MODELS = ("vit_base_patch16_224", "deit_base_patch16_224", "beit_base_patch16_224")
RATIOS = (0.5, 0.75, 0.95)
TARGET = {0.5: 3.3}
CLASSES = 7
BATCHES = (1, 8)


def run(threads: tuple[int, ...] = (1, 2), min_time_s: float = 4.0) -> dict[str, Any]:
    """Measure every model; returns rows with the MACs ratio beside the measured one."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in MODELS:
            files = export_pruned(name, Path(scratch))
            for count in threads:
                rows += _measure(name, files, count, min_time_s)
    return {"name": "vit-base speed-up", "machine": machine(), "rows": rows}


def export_pruned(name: str, scratch: Path) -> dict[float, Path]:
    """Write the dense file (key 0) and one per ratio."""
    files = {}
    for ratio in (0.0, *RATIOS):
        model = create(name, DenseOptions(num_classes=CLASSES, pretrained=False))
        if ratio:
            model = prune(model, PruneSettings(ratio=ratio, metric="l1")).model
        files[ratio] = scratch / f"{name}-{int(ratio * 100):02d}.onnx"
        export_onnx(random_model(model.record), files[ratio])
    return files


def _measure(
    name: str, files: dict[float, Path], threads: int, min_time_s: float
) -> list[dict[str, Any]]:
    result = bench(
        [str(files[ratio]) for ratio in RATIOS],
        baseline=str(files[0.0]),
        batches=BATCHES,
        threads=threads,
        min_time_s=min_time_s,
        precision_target=None,
    )
    medians = {(m.model, m.batch): m.latency_ms.p50 for m in result.measurements}
    rows = []
    for ratio in RATIOS:
        for comparison in result.comparisons:
            if comparison.model != files[ratio].stem:
                continue
            rows.append(
                {
                    "model": name,
                    "ratio": ratio,
                    "threads": threads,
                    "batch": comparison.batch,
                    "dense_ms": medians[comparison.baseline, comparison.batch],
                    "pruned_ms": medians[comparison.model, comparison.batch],
                    "macs_ratio": comparison.macs_ratio,
                    "speedup": comparison.speedup,
                    "speedup_ci95": list(comparison.ci95),
                    "target": TARGET.get(ratio) if threads == 1 and comparison.batch == 1 else None,
                }
            )
    return rows
