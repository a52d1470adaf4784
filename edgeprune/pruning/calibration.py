"""Images that metrics look at: from the source domains only, never from the held-out one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from operator import itemgetter

import numpy as np
import torch
from torch import nn

from edgeprune.domains import (
    DomainDataset,
    ImageStore,
    Sample,
    Split,
    data_facts,
    load_images,
    warn_of_duplicates,
)
from edgeprune.errors import UsageError
from edgeprune.images import Preprocess
from edgeprune.progress import SILENT, Progress
from edgeprune.pruning.fisher import Batch
from edgeprune.schema import DataFacts

BATCH = 16
# Rows of a least-squares fit for each of its unknowns: tokens for each input of the widest layer.
ROWS_PER_INPUT = 16


@dataclass(frozen=True)
class Calibration:
    """Calibration images and where they came from.

    Attributes:
        store: the images and their labels.
        facts: the data set, and how it was divided.
        domains: the source domain of every image.
        sources: all source domains, also those without an image.
    """

    store: ImageStore
    facts: DataFacts
    domains: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many images there are of every source domain."""
        return {domain: self.domains.count(domain) for domain in self.sources}

    def batches(self, progress: Progress = SILENT, batch: int = BATCH) -> Iterator[Batch]:
        """Yield images ``(batch, 3, size, size)`` and labels ``(batch,)``."""
        parts = _parts(range(len(self.store)), batch)
        for indices in progress.track(parts, "scoring", len(parts)):
            yield self._batch(indices)

    def by_domain(
        self, progress: Progress = SILENT, batch: int = BATCH
    ) -> Iterator[tuple[str, Iterator[Batch]]]:
        """Yield every source domain that has images, with its batches.

        The batches of one domain are to be used up before the next domain is asked for.
        """
        parts = [
            (domain, indices)
            for domain in self.sources
            for indices in _parts([i for i, d in enumerate(self.domains) if d == domain], batch)
        ]
        tracked = progress.track(parts, "scoring", len(parts))
        for domain, own in groupby(tracked, key=itemgetter(0)):
            yield domain, (self._batch(indices) for _, indices in own)

    def _batch(self, indices: Sequence[int]) -> Batch:
        return self.store.eval_batch(indices), self.store.labels[torch.tensor(indices)]


def calibrate(
    dataset: DomainDataset,
    split: Split,
    preprocess: Preprocess,
    *,
    samples: int = 256,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Calibration:
    """Choose training images, as many of every source domain, and in each of every class, as
    possible.

    Raises:
        UsageError: if ``samples`` is below 1.
        DataError: if an image cannot be read.
    """
    if samples < 1:
        raise UsageError(f"samples {samples} is not accepted; 1 or more is")
    warn_of_duplicates(split, progress)
    chosen = _balanced(split, samples, seed)
    store = load_images(chosen, preprocess, progress=progress)
    return Calibration(
        store=store,
        facts=data_facts(dataset, split, len(chosen)),
        domains=tuple(sample.domain for sample in chosen),
        sources=tuple(sorted(split.train)),
    )


def reconstruction_samples(module: nn.Module, img_size: int, samples: int) -> int:
    """Return how many images reconstruction should look at, at least ``samples``.

    The fewer tokens an image has, the more of them: a layer that is solved anew from as many tokens
    as it has inputs fits their noise. Layers that see one vector of an image, as classifiers do,
    are not solved anew.
    """
    wanted = [samples]

    def note(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        tokens = output.numel() // layer.out_features
        if tokens > 1:
            wanted.append(math.ceil(ROWS_PER_INPUT * layer.in_features / tokens))

    layers = [part for part in module.modules() if isinstance(part, nn.Linear)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    device = next(module.parameters()).device
    try:
        with torch.no_grad():
            module(torch.zeros(1, 3, img_size, img_size, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return max(wanted)


def _parts(indices: Sequence[int], size: int) -> list[list[int]]:
    return [list(indices[start : start + size]) for start in range(0, len(indices), size)]


def _balanced(split: Split, samples: int, seed: int) -> list[Sample]:
    """Deal images in turn from every domain, each of which goes through its classes in turn.

    Domains begin with different classes, so that few images cover many of both: as many images as
    there are domains take one of each.
    """
    generator = np.random.default_rng(seed)
    domains = generator.permutation(sorted(split.train)).tolist()
    labels = sorted({sample.label for own in split.train.values() for sample in own})
    labels = generator.permutation(labels).tolist()
    queues: list[list[Sample]] = []
    for turn, domain in enumerate(domains):
        first = turn % len(labels)
        piles = [
            [sample for sample in split.train[domain] if sample.label == label]
            for label in labels[first:] + labels[:first]
        ]
        shuffled = [[pile[i] for i in generator.permutation(len(pile))] for pile in piles]
        queues.append(_in_turn(shuffled))
    return _in_turn(queues)[:samples]


def _in_turn(piles: Sequence[Sequence[Sample]]) -> list[Sample]:
    """Take the first of every pile, then the second of every pile that has one, and so on."""
    rounds = zip_longest(*piles)
    return [sample for dealt in rounds for sample in dealt if sample is not None]
