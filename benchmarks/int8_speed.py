"""ViT-B/16 pruned by half and int8 against dense fp32, ONNX Runtime, batch 1, 1 thread.

Random weights and images: speed depends on neither. All files are measured interleaved in one run.
The target is 5x for one int8 file of the pruned model.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import machine
from edgeprune.benchmarking import bench
from edgeprune.exporting.calibration import activation_ranges
from edgeprune.exporting.int8 import FLAVOURS, quantise_dynamic, quantise_static
from edgeprune.exporting.onnx import metadata, trace, write
from edgeprune.model import DenseOptions, create, random_model
from edgeprune.pruning import PruneSettings, prune

MODEL = "vit_base_patch16_224"
CLASSES = 7
RATIO = 0.5
TARGET = 5.0


def run(threads: int = 1, min_time_s: float = 4.0) -> dict[str, Any]:
    """Measure all precisions of the dense and the pruned model against dense fp32."""
    with tempfile.TemporaryDirectory() as scratch:
        files = write_files(Path(scratch))
        dense = files.pop("dense-fp32")
        result = bench(
            [str(path) for path in files.values()],
            baseline=str(dense),
            threads=threads,
            min_time_s=min_time_s,
            precision_target=None,
        )
    latency = {found.model: found.latency_ms.p50 for found in result.measurements}
    rows = [
        {
            "model": comparison.model,
            "threads": threads,
            "dense_fp32_ms": latency[comparison.baseline],
            "ms": latency[comparison.model],
            "speedup": comparison.speedup,
            "speedup_ci95": list(comparison.ci95),
            "target": TARGET if comparison.model == "pruned-int8-static" else None,
        }
        for comparison in result.comparisons
    ]
    return {"name": "int8 speed-up", "machine": machine(), "rows": rows}


def write_files(folder: Path) -> dict[str, Path]:
    """Write the dense and the pruned model in fp32, static and dynamic int8."""
    files: dict[str, Path] = {}
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    for name in ("dense", "pruned"):
        model = create(MODEL, DenseOptions(num_classes=CLASSES, pretrained=False))
        if name == "pruned":
            model = prune(model, PruneSettings(ratio=RATIO, metric="l1")).model
        model = random_model(model.record)
        base = trace(model)
        static, dynamic = base.clone(), base.clone()
        quantise_static(
            static, activation_ranges(base, lambda: [images], "minmax"), FLAVOURS["cpu"]
        )
        quantise_dynamic(dynamic, FLAVOURS["cpu"])
        kinds = {"fp32": base, "int8-static": static, "int8-dynamic": dynamic}
        for kind, found in kinds.items():
            files[f"{name}-{kind}"] = folder / f"{name}-{kind}.onnx"
            facts = metadata(model, kind.split("-")[0])
            write(found, files[f"{name}-{kind}"], facts)
    return files
