"""Time and peak memory of exporting dense ViT-B/16, with its proof, in every precision.

Each in a process of its own: memory is the peak of the process less what it held before the model
was made, as a multiple of the fp32 weights. Targets: 20 s on 2 cores for fp32, 4 times for all.
int8 is calibrated and judged on a few emoji images.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.record import machine

TARGET_S, TARGET_TIMES = 20.0, 4.0
FILES = (("fp32", False), ("fp32", True), ("fp16", False), ("int8", False))

CHILD = """
import json, resource, sys, tempfile
from pathlib import Path
import psutil
from edgeprune.domains import divide, open_dataset
from edgeprune.exporting import ExportSettings, Int8Settings, Labelled, export
from edgeprune.model import DenseOptions, create, random_model

precision, optimize = json.loads(sys.argv[1])
before = psutil.Process().memory_info().rss
labelled, classes = None, 7
if precision == "int8":
    dataset = open_dataset("emoji")
    classes = len(dataset.classes)
    split = divide(dataset, target="microsoft", seed=0)
    labelled = Labelled(dataset, split, per_domain=8)
options = DenseOptions(num_classes=classes, pretrained=False)
model = random_model(create("vit_base_patch16_224", options).record)
settings = ExportSettings(
    precisions=(precision,), optimize=optimize, int8=Int8Settings(samples=32)
)
with tempfile.TemporaryDirectory() as scratch:
    result = export(model, Path(scratch) / "out", settings, labelled=labelled)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({
    "seconds": result.seconds,
    "weights_mb": 4 * model.record.dense.params / 1e6,
    "before_mb": before / 1e6,
    "peak_mb": peak / 1e6,
    "layers kept in fp32": len(result.files[0].kept) if precision == "int8" else None,
}))
"""


def run() -> dict[str, Any]:
    """Export to every precision once, each in a fresh process."""
    rows = [_measure(precision, optimize) for precision, optimize in FILES]
    return {"name": "cost of an export", "machine": machine(), "rows": rows}


def _measure(precision: str, optimize: bool) -> dict[str, Any]:
    command = [sys.executable, "-c", CHILD, json.dumps([precision, optimize])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    row["times_weights"] = (row["peak_mb"] - row["before_mb"]) / row["weights_mb"]
    row["target_seconds"] = TARGET_S if (precision, optimize) == ("fp32", False) else None
    row["target_times_weights"] = TARGET_TIMES
    return {"file": f"{precision}, --optimize" if optimize else precision, **row}
