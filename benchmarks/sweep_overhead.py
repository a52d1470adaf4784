"""What a sweep costs beside its trials, and how it scales with workers.

Two hundred tiny trials (a ViT-Ti at 32 px, two steps on drawn halves) run through the installed
command with one worker of one thread; forty of them also with two workers. The overhead is the wall
time of the whole command, with its start and that of its workers, against the time that the
trials took by their own clocks. The limit is 5 %.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.record import machine
from edgeprune.sweeping.store import STORE_FILE, read_store

SPEC = """
name = "overhead"
data = "data"
targets = ["a"]
seeds = {seeds}
dense = {{ steps = 2, batch_size = 4, eval_every = 2 }}
finetune = {{ steps = 2, batch_size = 4, eval_every = 2 }}

[[models]]
name = "vit_tiny_patch16_224"
img_size = 32
pretrained = false

[[prune]]
metrics = ["l1", "l2", "random", "lamp"]
ratios = [0.5]
reconstruct = false
samples = 4
"""
TRIALS_PER_SEED = 5
TRIALS = 200
FEW_TRIALS = 40
LIMIT = 0.05


def run() -> dict[str, Any]:
    """Run the sweeps one after another."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write_data(root / "data")
        rows = [
            _measure(root, trials, workers)
            for trials, workers in ((TRIALS, 1), (FEW_TRIALS, 1), (FEW_TRIALS, 2))
        ]
    for row in rows:
        same = next(r for r in rows if r["trials"] == row["trials"])
        row["speed-up over one worker"] = same["wall_s"] / row["wall_s"]
    return {"name": "overhead and scaling of sweeps", "machine": machine(), "rows": rows}


def _measure(root: Path, trials: int, workers: int) -> dict[str, Any]:
    spec = root / "sweep.toml"
    spec.write_text(SPEC.format(seeds=list(range(trials // TRIALS_PER_SEED))), encoding="utf-8")
    output = root / f"{trials}-{workers}"
    command = [sys.executable, "-m", "edgeprune", "sweep", str(spec), "-o", str(output)]
    started = time.perf_counter()
    subprocess.run(
        [*command, "--workers", str(workers), "--threads", "1"],
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    wall_s = time.perf_counter() - started
    results = [row.result for row in read_store(output / STORE_FILE).rows]
    own_s = sum(result.seconds.total for result in results if result) / workers
    return {
        "trials": len(results),
        "workers": workers,
        "wall_s": wall_s,
        "trials' own time per worker_s": own_s,
        "overhead": wall_s / own_s - 1,
        "limit": LIMIT,
    }


def _write_data(root: Path) -> None:
    """Write ROOT/DOMAIN/CLASS/IMAGE of 32 px; which half is light is what is learnt."""
    generator = np.random.default_rng(0)
    for domain in ("a", "b", "c"):
        for kind in ("bottom", "top"):
            folder = root / domain / kind
            folder.mkdir(parents=True)
            for index in range(5):
                pixels = generator.integers(0, 60, (32, 32, 3), dtype=np.uint8)
                half = pixels[:16] if kind == "top" else pixels[16:]
                half += 120
                Image.fromarray(pixels).save(folder / f"{index}.png")
