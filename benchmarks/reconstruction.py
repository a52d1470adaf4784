"""What reconstruction buys before any training: channels dropped against reconstructed.

Uses the dense model, data and scores of ``pruner_comparison`` for one held-out domain and seed;
hessian scores, 256 calibration images, accuracy on source validation and on the unseen domain.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.pruner_comparison import Bench
from benchmarks.record import machine
from edgeprune import artifact
from edgeprune.pruning import PruneSettings, prune

CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("half of embed", {"dims": ("embed",)}),
    ("half of mlp", {"dims": ("mlp",)}),
    ("half of heads", {"dims": ("heads",)}),
    ("a quarter of blocks", {"dims": ("blocks",), "ratio": 0.25}),
    ("half of embed, heads, mlp", {}),
    ("the same, --scope local", {"scope": "local"}),
    ("75 % of embed, heads, mlp", {"ratio": 0.75}),
    ("75 %, --scope local", {"ratio": 0.75, "scope": "local"}),
    ("75 % of MACs", {"ratio": 0.75, "budget": "macs"}),
)


def run(
    target: str = "microsoft", seed: int = 0, scratch: Path = Path("runs/pruner-comparison")
) -> dict[str, Any]:
    """Prune every case twice; returns one row per case."""
    scratch.mkdir(parents=True, exist_ok=True)
    bench = Bench(target, seed, scratch)
    rows = [{"removed": "nothing", "MACs ratio": 1.0, "dropped": "", "reconstructed": ""}]
    rows[0]["reconstructed"] = _both(bench.dense_accuracy)
    for name, chosen in CASES:
        row: dict[str, Any] = {"removed": name}
        for column, reconstruct in (("dropped", False), ("reconstructed", True)):
            settings = PruneSettings(metric="hessian", reconstruct=reconstruct, seed=seed, **chosen)
            model = artifact.load(bench.dense)
            pruned = prune(model, settings, calibration=bench.calibration)
            row["MACs ratio"] = pruned.result.dense.macs / pruned.result.pruned.macs
            row[column] = _both(bench.accuracy(pruned.model.module))
        rows.append(row)
    return {"name": "what reconstruction buys", "machine": machine(), "rows": rows}


def _both(accuracy: dict[str, float]) -> str:
    return f"{accuracy['source_val']:.1f} / {accuracy['target']:.1f}"
