"""Images that metrics look at: from the source domains only, never from the held-out one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from edgeprune.domains import DomainDataset, ImageStore, Sample, Split, data_facts, load_images
from edgeprune.errors import UsageError
from edgeprune.images import Preprocess
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import DataFacts

BATCH = 16


@dataclass(frozen=True)
class Calibration:
    """Calibration images and where they came from."""

    store: ImageStore
    facts: DataFacts

    def batches(
        self, progress: Progress = SILENT, batch: int = BATCH
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield images ``(batch, 3, size, size)`` and labels ``(batch,)``."""
        count = len(self.store.labels)
        starts = range(0, count, batch)
        for start in progress.track(starts, "scoring", len(starts)):
            indices = np.arange(start, min(start + batch, count))
            yield self.store.eval_batch(indices), self.store.labels[indices]


def calibrate(
    dataset: DomainDataset,
    split: Split,
    preprocess: Preprocess,
    *,
    samples: int = 256,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Calibration:
    """Choose training images, as many of every source domain and class as possible.

    Raises:
        UsageError: if ``samples`` is below 1.
        DataError: if an image cannot be read.
    """
    if samples < 1:
        raise UsageError(f"samples {samples} is not accepted; 1 or more is")
    chosen = _balanced(split, samples, seed)
    store = load_images(chosen, preprocess, progress=progress)
    return Calibration(store=store, facts=data_facts(dataset, split, len(chosen)))


def _balanced(split: Split, samples: int, seed: int) -> list[Sample]:
    """Deal images in turn from every (domain, class) pile, each pile shuffled."""
    generator = np.random.default_rng(seed)
    piles: list[list[Sample]] = []
    for domain in sorted(split.train):
        for label in sorted({sample.label for sample in split.train[domain]}):
            pile = [sample for sample in split.train[domain] if sample.label == label]
            piles.append([pile[i] for i in generator.permutation(len(pile))])
    order = [piles[i] for i in generator.permutation(len(piles))]
    depth = max(len(pile) for pile in order)
    dealt = [pile[level] for level in range(depth) for pile in order if level < len(pile)]
    return dealt[:samples]
