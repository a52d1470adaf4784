"""Does ``bench`` agree with a bare ONNX Runtime loop? Target: within 3 % at the median.

Both measure the same file in turns, several times, each in fresh processes, so that a change of
the machine's speed meets both. Writes the ratio of the medians (bench / bare) as JSON.

    python benchmarks/harness_agreement.py -o results/harness_agreement.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from edgeprune.benchmarking import bench
from edgeprune.benchmarking.workers import worker_environment
from edgeprune.environment import available_cores, cpu_name, version_of
from edgeprune.files import write_text

TARGET = 0.03

# What anyone would write first: ten calls to warm up, then a loop.
BARE_LOOP = """
import sys, time
import numpy as np
import onnxruntime as ort

path, batch, size, threads, seconds = sys.argv[1], *map(int, sys.argv[2:])
options = ort.SessionOptions()
options.intra_op_num_threads = threads
session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
images = np.random.default_rng(0).standard_normal((batch, 3, size, size), dtype=np.float32)
for _ in range(10):
    session.run(None, {"images": images})
times = []
end = time.perf_counter() + seconds
while time.perf_counter() < end:
    start = time.perf_counter()
    session.run(None, {"images": images})
    times.append(time.perf_counter() - start)
print(float(np.median(times)) * 1000)
"""


def bare(path: Path, batch: int, size: int, threads: int, seconds: int) -> float:
    """Return the median latency in ms of the bare loop in a fresh process."""
    arguments = [str(path), *map(str, (batch, size, threads, seconds))]
    done = subprocess.run(
        [sys.executable, "-c", BARE_LOOP, *arguments],
        env=worker_environment(threads),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def export(model: str, size: int, path: Path) -> None:
    """Write a dense timm model with random weights as ONNX."""
    from edgeprune.exporting.onnx import export_onnx
    from edgeprune.loading import load_model
    from edgeprune.model import DenseOptions

    export_onnx(load_model(model, DenseOptions(img_size=size, pretrained=False)), path)


def compare(path: Path, size: int, batch: int, threads: int, repeats: int) -> dict[str, object]:
    """Measure one setting both ways in turns; the ratio is that of the medians over repeats."""
    ours, theirs = [], []
    for repeat in range(repeats):
        for side in ("bench", "bare") if repeat % 2 else ("bare", "bench"):
            if side == "bare":
                theirs.append(bare(path, batch, size, threads, seconds=3))
            else:
                result = bench([path], batches=(batch,), threads=threads, min_time_s=3.0)
                ours.append(result.measurements[0].latency_ms.p50)
    ratio = statistics.median(ours) / statistics.median(theirs)
    return {
        "batch": batch,
        "threads": threads,
        "bench_ms": ours,
        "bare_ms": theirs,
        "ratio": ratio,
        "within_target": abs(ratio - 1) <= TARGET,
    }


def main() -> None:
    """Measure every setting and write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default="vit_tiny_patch16_224")
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        export(arguments.model, arguments.img_size, path)
        settings = sorted(
            {(batch, threads) for batch in (1, 8) for threads in (1, available_cores())}
        )
        rows = [
            compare(path, arguments.img_size, batch, threads, arguments.repeats)
            for batch, threads in settings
        ]
    document = {
        "benchmark": "harness_agreement",
        "model": arguments.model,
        "img_size": arguments.img_size,
        "cpu": cpu_name(),
        "onnxruntime": version_of("onnxruntime"),
        "target": TARGET,
        "settings": rows,
        "passed": all(row["within_target"] for row in rows),
    }
    write_text(arguments.output, json.dumps(document, indent=2) + "\n")
    for row in rows:
        print(f"batch {row['batch']}, {row['threads']} threads: bench / bare = {row['ratio']:.3f}")


if __name__ == "__main__":
    main()
