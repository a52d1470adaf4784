"""What ``--round-to`` costs or buys: ViT-B at equal MACs with widths of ever coarser steps.

A ratio of half of 768 channels gives multiples of 64 anyway, and weights of a new model make all
layers alike. So the scores are drawn here: lognormal for every channel, times a lognormal factor
for every layer, ranked globally under a budget of MACs. The layers then differ in width as they
do in a trained model, and each step rounds the same ranking.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import machine
from edgeprune import families
from edgeprune.benchmarking import bench
from edgeprune.exporting.onnx import export_onnx
from edgeprune.model import DenseOptions, Model, create, random_model
from edgeprune.pruning import PruneSettings
from edgeprune.pruning.graph import PruningGraph
from edgeprune.pruning.planner import Planner
from edgeprune.pruning.sizes import Sizes, as_dict, left_of
from edgeprune.schema import ArtifactRecord

MODEL, CLASSES = "vit_base_patch16_224", 7
HEADS, HEAD_DIMS = ("embed", "heads", "mlp"), ("embed", "head_dim", "mlp")
# (dimensions, share of MACs removed, steps); a head of 64 dims has no multiples of 64 below
CASES: tuple[tuple[tuple[str, ...], float, tuple[int, ...]], ...] = (
    (HEADS, 0.5, (1, 8, 16, 32, 64)),
    (HEADS, 0.75, (1, 8, 16, 32, 64)),
    (HEAD_DIMS, 0.5, (1, 8, 16, 32)),
)
BASE = 8
CHANNEL_SPREAD, LAYER_SPREAD = 1.0, 0.5


def run(threads: tuple[int, ...] = (1, 2), min_time_s: float = 3.0) -> dict[str, Any]:
    """Measure at batch 1; the steps of one case take turns in one run of the bench."""
    model = create(MODEL, DenseOptions(num_classes=CLASSES, pretrained=False))
    graph = PruningGraph(model.module, families.of(MODEL), model.record.img_size)
    scores = _scores(graph)
    rows: list[dict[str, Any]] = []
    for dims, ratio, steps in CASES:
        records = {}
        for step in steps:
            settings = PruneSettings(ratio=ratio, budget="macs", dims=dims, round_to=step)
            records[step] = _planned(model, graph, scores, settings)
        with tempfile.TemporaryDirectory() as scratch:
            files = {step: Path(scratch) / f"round-{step}.onnx" for step in steps}
            for step, file in files.items():
                export_onnx(random_model(records[step]), file)
            for count in threads:
                measured = _measure(files, records, count, min_time_s)
                common = {"dims": ", ".join(dims), "ratio": ratio, "threads": count}
                rows += [{**common, **row} for row in measured]
    return {"name": "round-to at equal MACs, ViT-B/16", "machine": machine(), "rows": rows}


def _scores(graph: PruningGraph, seed: int = 0) -> dict[str, torch.Tensor]:
    """Draw a score for every channel, layers of unequal size."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for group in graph.groups:
        layer = torch.randn((), generator=generator) * LAYER_SPREAD
        channels = torch.randn(group.channels, generator=generator) * CHANNEL_SPREAD
        found[group.name] = (layer + channels).exp()
    return found


def _planned(
    model: Model, graph: PruningGraph, scores: dict[str, torch.Tensor], settings: PruneSettings
) -> ArtifactRecord:
    """Return the record of the model that the plan would leave."""
    planned = Planner(model, settings).plan(
        graph, scores, share=settings.ratio, budget=settings.budget, measure=None
    )
    return Sizes(model.record).record(left_of(as_dict(model.record.widths), planned.keep))


def _measure(
    files: dict[int, Path], records: dict[int, ArtifactRecord], threads: int, min_time_s: float
) -> Iterable[dict[str, Any]]:
    others = [file for step, file in files.items() if step != BASE]
    result = bench(
        others,
        baseline=files[BASE],
        threads=threads,
        min_time_s=min_time_s,
        precision_target=None,
    )
    medians = {m.model: m.latency_ms.p50 for m in result.measurements}
    comparisons = {c.model: c for c in result.comparisons}
    for step, file in files.items():
        record = records[step]
        against = comparisons.get(file.stem)  # the base itself has none
        macs = record.pruned.macs
        yield {
            "round_to": step,
            "macs_left": macs / record.dense.macs,
            **{dim: _spread(record, dim) for dim in ("embed", "heads", "head_dim", "mlp")},
            "latency_ms": medians[file.stem],
            "ms_per_gmac": medians[file.stem] / (macs / 1e9),
            "speedup": against.speedup if against else 1.0,
            "speedup_ci95": list(against.ci95) if against else None,
        }


def _spread(record: ArtifactRecord, dim: str) -> list[int]:
    """Return the least and the greatest width of a kind of dimension."""
    widths = [width.width for width in record.widths if width.dim == dim]
    return sorted({min(widths), max(widths)})
