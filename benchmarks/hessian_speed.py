"""Time of the hessian score against torch-pruning's loop for the score of that name.

Its documentation takes the loss of every image of a batch by itself, and for each of them goes back
through the whole batch: zero_grad, backward(retain_graph=True), accumulate_grad. Here one forward
and one backward pass of the batch do.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import timm
import torch
import torch_pruning as tp
from torch import nn

from benchmarks.record import machine
from benchmarks.torch_pruning_recipe import accumulate_hessian
from edgeprune.model import DenseOptions, create
from edgeprune.pruning.fisher import mean_squared_gradients

MODEL = "deit_tiny_patch16_224"
IMAGES = 32
IMG_SIZE = 224
CLASSES = 8
ROUNDS = 5
TARGET = 10.0


def run(rounds: int = ROUNDS) -> dict[str, Any]:
    """Time both in turns, and return the ratio of each turn: median, least and largest."""
    options = DenseOptions(num_classes=CLASSES, img_size=IMG_SIZE, pretrained=False)
    ours = create(MODEL, options).module
    theirs = timm.create_model(MODEL, num_classes=CLASSES, img_size=IMG_SIZE).eval()
    images = torch.randn(IMAGES, 3, IMG_SIZE, IMG_SIZE)
    labels = torch.arange(IMAGES) % CLASSES
    mean_squared_gradients(ours, [(images[:2], labels[:2])])  # warm-up
    _documented_loop(theirs, images[:2], labels[:2])
    turns = [
        (
            _seconds(lambda: _documented_loop(theirs, images, labels)),
            _seconds(lambda: mean_squared_gradients(ours, [(images, labels)])),
        )
        for _ in range(rounds)
    ]
    ratios = [slow / quick for slow, quick in turns]
    row = {
        "model": MODEL,
        "images": IMAGES,
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "torch_pruning_s": statistics.median(slow for slow, _ in turns),
        "edgeprune_s": statistics.median(quick for _, quick in turns),
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "target": TARGET,
    }
    return {"name": "time of the hessian score", "machine": machine(), "rows": [row]}


def _documented_loop(module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    importance = tp.importance.GroupHessianImportance()
    importance.zero_grad()
    accumulate_hessian(module, importance, images, labels)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
