"""Cost of the hessian score against one ordinary forward and backward over the same images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.record import machine
from edgeprune.model import DenseOptions, create
from edgeprune.pruning.first_order import first_order_sums
from edgeprune.pruning.fisher import mean_squared_gradients

CASES = (
    ("deit_tiny_patch16_224", 224, 16),
    ("vit_small_patch16_224", 224, 8),
    ("beit_base_patch16_224", 224, 4),
    ("vit_small_patch14_dinov2", 70, 32),
    ("swin_tiny_patch4_window7_224", 224, 8),
    ("swinv2_tiny_window8_256", 256, 4),
    ("eva02_small_patch14_224", 224, 8),
    ("vit_small_patch16_dinov3", 224, 8),
)
TARGET = 1.5


def run(rounds: int = 5) -> dict[str, Any]:
    """Time both, interleaved, and return their ratio per model."""
    rows = []
    for name, img_size, batch in CASES:
        options = DenseOptions(num_classes=8, img_size=img_size, pretrained=False)
        module = create(name, options).module
        images = torch.randn(batch, 3, img_size, img_size)
        labels = torch.arange(batch) % 8
        work: dict[str, Callable[[], object]] = {
            "ordinary": partial(_ordinary, module, images, labels),
            "hessian": partial(mean_squared_gradients, module, [(images, labels)]),
            "taylor": partial(first_order_sums, module, images, labels),
        }
        seconds = _interleaved(work, rounds)
        rows.append(
            {
                "model": name,
                "img_size": img_size,
                "batch": batch,
                "ordinary_s": seconds["ordinary"],
                "hessian_ratio": seconds["hessian"] / seconds["ordinary"],
                "taylor_ratio": seconds["taylor"] / seconds["ordinary"],
                "target": TARGET,
            }
        )
    return {"name": "cost of scoring", "machine": machine(), "rows": rows}


def _ordinary(module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    module.zero_grad()
    F.cross_entropy(module(images), labels).backward()


def _interleaved(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each piece of work, taken in turns."""
    samples: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, call in work.items():
            started = time.perf_counter()
            call()
            if turn:  # the first is warm-up
                samples[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in samples.items()}
