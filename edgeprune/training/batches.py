"""Batches that hold every source domain equally, each a pure function of the seed and step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from edgeprune.domains import ImageStore, Sample

T = TypeVar("T")

# Images, and their labels or the probabilities of their classes.
Batch = tuple[torch.Tensor, torch.Tensor]
Indices = npt.NDArray[np.int64]
# Keeps the stream of augmentations apart from the streams of the domains.
AUGMENTATION = 7919


class DomainBatches:
    """Indices of each step's images, dealt evenly over the domains.

    Every domain is an endless stream of seeded permutations of its images. Slots that do not
    divide evenly rotate over the domains. Any step can be asked for without those before it,
    so that a resumed run continues with the same batches.
    """

    def __init__(self, sizes: Sequence[int], batch_size: int, seed: int) -> None:
        self._sizes = tuple(sizes)
        self._starts = np.cumsum([0, *self._sizes[:-1]])
        self._batch_size = batch_size
        self._seed = seed
        self._permutation = lru_cache(maxsize=2 * len(self._sizes))(self._permute)

    def indices(self, step: int) -> Indices:
        """Return the images of a step, ``(batch_size,)``, over all domains one after another."""
        return np.concatenate([self._of(domain, step) for domain in range(len(self._sizes))])

    def _of(self, domain: int, step: int) -> Indices:
        first, end = self._taken(domain, step), self._taken(domain, step + 1)
        size = self._sizes[domain]
        drawn = [
            self._permutation(domain, position // size)[position % size]
            for position in range(first, end)
        ]
        return np.array(drawn, dtype=np.int64) + int(self._starts[domain])

    def _taken(self, domain: int, step: int) -> int:
        """Return how many images of ``domain`` the steps before ``step`` have used."""
        count = len(self._sizes)
        even, odd_slots = divmod(self._batch_size, count)
        return even * step + (step * odd_slots - domain + count - 1) // count

    def _permute(self, domain: int, epoch: int) -> Indices:
        return np.random.default_rng([self._seed, domain, epoch]).permutation(self._sizes[domain])


class TrainingImages:
    """Augmented training batches of the source domains, by step, or ``share`` of each."""

    def __init__(
        self,
        store: ImageStore,
        sizes: Sequence[int],
        batch_size: int,
        seed: int,
        share: slice = slice(None),
    ) -> None:
        self._store = store
        self._share = share
        self._seed = seed
        self._batches = DomainBatches(sizes, batch_size, seed)

    def batch(self, step: int) -> Batch:
        """Return images ``(batch, 3, size, size)`` and labels ``(batch,)`` of a step."""
        indices = self._batches.indices(step)
        generator = np.random.default_rng([self._seed, AUGMENTATION, step])
        images = self._store.train_batch(indices, generator, self._share)
        return images, self._store.labels[torch.from_numpy(indices[self._share])]


def pooled(domains: Mapping[str, Sequence[Sample]]) -> tuple[list[Sample], list[int]]:
    """Return the samples of all domains one after another, and how many each has."""
    samples = [sample for name in domains for sample in domains[name]]
    return samples, [len(domains[name]) for name in domains]


def prefetched(make: Callable[[int], T], steps: range) -> Iterator[T]:
    """Yield ``make(step)`` for every step, the next one being made in a thread meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending = [pool.submit(make, step) for step in steps[:1]]
        for step in steps:
            ready = pending.pop()
            result = ready.result()
            if step + 1 < steps.stop:
                pending.append(pool.submit(make, step + 1))
            yield result
