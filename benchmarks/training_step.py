"""Time of a training step against a bare torch loop over ready tensors. Target: within 15 %.

Ours reads images out of the cache, augments, collects and normalises them, sets the learning rate,
checks the loss, limits the gradient's norm. The bare loop has one ready batch in memory: forward,
loss, backward, optimiser. Same module, optimiser and loss; both take turns in one process.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.record import machine
from edgeprune.benchmarking.stats import round_by_round_ratio
from edgeprune.domains import Split, leave_one_out, load_images, open_dataset
from edgeprune.model import DenseOptions, Model, create
from edgeprune.pruning import PruneSettings, prune
from edgeprune.training import FinetuneSettings
from edgeprune.training.batches import TrainingImages, pooled
from edgeprune.training.optimiser import make_optimiser
from edgeprune.training.trainer import Trainer

MODEL = "vit_small_patch14_dinov2"
DATA, TARGET_DOMAIN = "emoji", "microsoft"
IMG_SIZE = 70
BATCH = 32
THREADS = 2
ROUNDS = 30
STEPS = 5
TARGET = 1.15


def run(rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure the demo's dense model and the same at half of every width."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        dataset = open_dataset(DATA)
        split = leave_one_out(dataset, TARGET_DOMAIN)
        options = DenseOptions(len(dataset.classes), IMG_SIZE, pretrained=False)
        dense, cut = create(MODEL, options), create(MODEL, options)
        half = prune(cut, PruneSettings(ratio=0.5, metric="l1", scope="local")).model
        rows = [_measure("dense", dense, split, rounds), _measure("half", half, split, rounds)]
    finally:
        torch.set_num_threads(before)
    return {"name": "training step against a bare loop", "machine": machine(), "rows": rows}


def _measure(name: str, model: Model, split: Split, rounds: int) -> dict[str, Any]:
    samples, sizes = pooled(split.train)
    images = TrainingImages(load_images(samples, model.preprocess), sizes, BATCH, seed=0)
    settings = FinetuneSettings(steps=STEPS * (rounds + 1), batch_size=BATCH)
    trainer = Trainer(model.module, None, settings, STEPS * (rounds + 1), torch.device("cpu"))
    bare = _bare(model.module, images.batch(0), settings)
    batch_s: list[float] = []

    def ours() -> None:
        started = time.perf_counter()
        batch = images.batch(trainer.step)
        batch_s.append(time.perf_counter() - started)
        trainer.update(*batch)

    turns = {"ours": ours, "bare": bare}
    found: dict[str, list[np.ndarray]] = {"ours": [], "bare": []}
    for turn in range(rounds + 1):
        # Who goes first changes, so that a machine that slows down favours neither.
        for which in sorted(turns, reverse=turn % 2 == 1):
            times = np.array([_seconds(turns[which]) for _ in range(STEPS)])
            if turn:  # the first is warm-up
                found[which].append(times)
    ratio, interval = round_by_round_ratio(found["ours"], found["bare"])
    return {
        "model": name,
        "batch": BATCH,
        "threads": THREADS,
        "rounds": rounds,
        "ours_ms": 1e3 * float(np.median(found["ours"])),
        "batch_ms": 1e3 * float(np.median(batch_s)),
        "bare_ms": 1e3 * float(np.median(found["bare"])),
        "ratio": ratio,
        "ci95": list(interval),
        "target": TARGET,
        "met": interval[1] <= TARGET,
    }


def _bare(
    module: nn.Module, batch: tuple[torch.Tensor, torch.Tensor], settings: FinetuneSettings
) -> Callable[[], None]:
    module = copy.deepcopy(module).train()
    optimiser = make_optimiser(module, settings)
    images, labels = batch

    def step() -> None:
        loss = F.cross_entropy(module(images), labels, label_smoothing=settings.label_smoothing)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
