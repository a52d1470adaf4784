"""Time and peak memory of exporting dense ViT-B/16 to fp32, with its proof.

In a process of its own: memory is the peak of the process less what it held before the model was
made, as a multiple of the weights. Targets: 20 s on 2 cores, 4 times.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.record import machine

TARGET_S, TARGET_TIMES = 20.0, 4.0

CHILD = """
import json, resource, tempfile
from pathlib import Path
import psutil
from edgeprune.exporting import export
from edgeprune.model import DenseOptions, create, random_model

before = psutil.Process().memory_info().rss
options = DenseOptions(num_classes=7, pretrained=False)
model = random_model(create("vit_base_patch16_224", options).record)
with tempfile.TemporaryDirectory() as scratch:
    result = export(model, Path(scratch) / "out")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({
    "seconds": result.seconds,
    "model_mb": 4 * model.record.dense.params / 1e6,
    "before_mb": before / 1e6,
    "peak_mb": peak / 1e6,
}))
"""


def run() -> dict[str, Any]:
    """Export once in a fresh process."""
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    row["times_model"] = (row["peak_mb"] - row["before_mb"]) / row["model_mb"]
    row |= {"target_seconds": TARGET_S, "target_times_model": TARGET_TIMES}
    return {"name": "cost of an export", "machine": machine(), "rows": [row]}
