"""Memory of the hessian score: what it takes over an ordinary forward and backward pass.

Each is measured in a fresh process, as the peak of its resident memory. The limit is one copy of
the parameters and the largest layer's gradients of every image.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.record import machine
from edgeprune.model import DenseOptions, create
from edgeprune.pruning.fisher import mean_squared_gradients

# (model, image size, images)
CASES = (
    ("deit_tiny_patch16_224", 224, 32),
    ("vit_base_patch16_224", 224, 4),
    ("vit_small_patch14_dinov2", 70, 16),
    ("beit_base_patch16_224", 224, 4),
    ("swin_tiny_patch4_window7_224", 224, 8),
    ("swinv2_tiny_window8_256", 256, 4),
    ("eva02_small_patch14_224", 224, 8),
    ("vit_small_patch16_dinov3", 224, 8),
)
CLASSES = 8
ROUNDS = 3
MB = 1e6


def run(rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure both for every model, in turns; medians over the rounds."""
    rows = []
    for name, img_size, batch in CASES:
        module = _module(name, img_size)
        peaks: dict[str, list[float]] = {"ordinary": [], "hessian": []}
        for _ in range(rounds):
            for work, found in peaks.items():
                found.append(_peak_mb(work, name, img_size, batch))
        ordinary, hessian = (statistics.median(found) for found in peaks.values())
        sizes = [parameter.numel() * 4 / MB for parameter in module.parameters()]
        rows.append(
            {
                "model": name,
                "img_size": img_size,
                "batch": batch,
                "ordinary_mb": ordinary,
                "hessian_mb": hessian,
                "extra_mb": hessian - ordinary,
                "parameters_mb": sum(sizes),
                "largest_layer_per_sample_mb": batch * max(sizes),
                "limit_mb": sum(sizes) + batch * max(sizes),
            }
        )
    return {"name": "memory of the hessian score", "machine": machine(), "rows": rows}


def _module(name: str, img_size: int) -> nn.Module:
    options = DenseOptions(num_classes=CLASSES, img_size=img_size, pretrained=False)
    return create(name, options).module


def _peak_mb(work: str, name: str, img_size: int, batch: int) -> float:
    command = [sys.executable, "-m", "benchmarks.scoring_memory", work, name]
    done = subprocess.run(
        [*command, str(img_size), str(batch)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def _worker(work: str, name: str, img_size: int, batch: int) -> None:
    """Do one piece of work and print the peak of this process in MB."""
    module = _module(name, img_size)
    images, labels = torch.randn(batch, 3, img_size, img_size), torch.arange(batch) % CLASSES
    if work == "hessian":
        mean_squared_gradients(module, [(images, labels)])
    else:
        F.cross_entropy(module(images), labels).backward()  # type: ignore[no-untyped-call]
    # kilobytes on Linux, bytes on macOS
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB)


if __name__ == "__main__":
    _worker(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
