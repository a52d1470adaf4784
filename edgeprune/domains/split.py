"""Hold domains out: what is trained on, what picks the best step, what is scored."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from edgeprune.domains.dataset import DomainDataset, Sample
from edgeprune.errors import DataError, UsageError, one_of
from edgeprune.schema import DataFacts, SplitFacts

T = TypeVar("T")

WAYS = ("file", "group")
# A class with this many images (groups) is never without one on the held-out side.
ENOUGH = 5


@dataclass(frozen=True)
class Split:
    """A data set with domains held out; ``train`` and ``validation`` are per source domain.

    ``target`` is the domain that was left out, or a name for all of them where several were.
    """

    target: str
    facts: SplitFacts
    train: dict[str, tuple[Sample, ...]]
    validation: dict[str, tuple[Sample, ...]]
    test: tuple[Sample, ...]

    @property
    def sources(self) -> list[str]:
        """The domains that are trained on."""
        return list(self.train)

    @property
    def targets(self) -> list[str]:
        """The domains that were held out."""
        return list(dict.fromkeys(sample.domain for sample in self.test))

    @property
    def tests(self) -> dict[str, tuple[Sample, ...]]:
        """The test images of each domain that was held out."""
        return {name: tuple(s for s in self.test if s.domain == name) for name in self.targets}


def divide(
    dataset: DomainDataset,
    *,
    target: str | None = None,
    source: str | None = None,
    by: str | None = None,
    seed: int = 0,
    holdout: float = 0.2,
) -> Split:
    """Leave ``target`` out, or train on ``source`` alone: exactly one of the two is given.

    Raises:
        UsageError: if both or none are given, or as :func:`leave_one_out`.
        DataError: as :func:`leave_one_out`.
    """
    if target is not None and source is not None:
        raise UsageError(f"target {target!r} and source {source!r}: give one of the two")
    if target is not None:
        return leave_one_out(dataset, target, by=by, seed=seed, holdout=holdout)
    if source is not None:
        return single_source(dataset, source, by=by, seed=seed, holdout=holdout)
    raise UsageError(
        "it was not said which domain is held out (--target DOMAIN), or which is the only one to"
        f" train on (--source DOMAIN); accepted: {', '.join(dataset.domains)}"
    )


def leave_one_out(
    dataset: DomainDataset,
    target: str,
    *,
    by: str | None = None,
    seed: int = 0,
    holdout: float = 0.2,
) -> Split:
    """Leave ``target`` out and hold a share of every source domain out for validation.

    By "file", every source domain is divided as DomainBed divides it (``seed`` is its trial
    seed, and 0.2 its ``holdout``), and all images of the target are the test. By "group", whole
    groups are held out, the same ones in every domain, and the test is the target's images of
    those groups: nothing like them was trained on. The division depends on the seed alone, not
    on the target. None means the data set's own way.

    Raises:
        UsageError: if the target or the way is unknown, or ``holdout`` is not between 0 and 1.
        DataError: if there are too few images to fill every part.
    """
    one_of(target, "domain", dataset.domains)
    sources = [domain for domain in dataset.domains if domain != target]
    return _divide(dataset, sources, target, by, seed, holdout)


def single_source(
    dataset: DomainDataset,
    source: str,
    *,
    by: str | None = None,
    seed: int = 0,
    holdout: float = 0.2,
) -> Split:
    """Train on ``source`` alone and hold every other domain out.

    The division is that of :func:`leave_one_out`, also what it raises: validation is the source's
    share that is held out, the test every image of the others, or those of held-out groups.
    """
    one_of(source, "domain", dataset.domains)
    others = [domain for domain in dataset.domains if domain != source]
    target = others[0] if len(others) == 1 else f"all but {source}"
    return _divide(dataset, [source], target, by, seed, holdout)


def _divide(
    dataset: DomainDataset,
    sources: list[str],
    target: str,
    by: str | None,
    seed: int,
    holdout: float,
) -> Split:
    way = one_of(by if by is not None else dataset.default_split, "split", WAYS)
    if not 0 < holdout < 1:
        raise UsageError(f"holdout {holdout!r} is not accepted: a share between 0 and 1")
    held = _held_files(dataset, seed, holdout) if way == "file" else None
    groups = _held_groups(dataset, seed, holdout) if way == "group" else frozenset()

    def is_held(sample: Sample) -> bool:
        return sample.group in groups if held is None else sample in held

    images = {domain: dataset.of(domain) for domain in dataset.domains}
    split = Split(
        target=target,
        facts=SplitFacts(by=way, seed=seed, holdout=holdout),
        train={d: tuple(s for s in images[d] if not is_held(s)) for d in sources},
        validation={d: tuple(s for s in images[d] if is_held(s)) for d in sources},
        test=tuple(
            sample
            for domain in dataset.domains
            if domain not in sources
            for sample in images[domain]
            if held is not None or is_held(sample)
        ),
    )
    _check_filled(dataset, split)
    return split


def data_facts(dataset: DomainDataset, split: Split, samples: int) -> DataFacts:
    """Say which data were used; ``samples`` is how many images of them."""
    return DataFacts(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        target=split.target,
        sources=split.sources,
        split=split.facts,
        samples=samples,
    )


def _share(count: int, holdout: float) -> int:
    """How many of ``count`` to hold out: rounded, at least one where there are enough."""
    wanted = math.floor(count * holdout + 0.5)
    return min(count - 1, max(wanted, 1)) if count >= ENOUGH else min(wanted, max(count - 1, 0))


def _held_files(dataset: DomainDataset, seed: int, holdout: float) -> frozenset[Sample]:
    """Hold out the first images of a shuffle that the trial seed and the domain's place decide.

    The algorithm is that of DomainBed (Gulrajani and Lopez-Paz, "In Search of Lost Domain
    Generalization", ICLR 2021), so that the same trial seed holds out the same files. Classes
    are not balanced: the share holds for a domain as a whole.
    """
    held: set[Sample] = set()
    for index, domain in enumerate(dataset.domains):
        samples = sorted(dataset.of(domain), key=_image_folder_order)
        keys = list(range(len(samples)))
        np.random.RandomState(_seed_hash(seed, index)).shuffle(keys)
        held.update(samples[key] for key in keys[: int(len(samples) * holdout)])
    return frozenset(held)


def _image_folder_order(sample: Sample) -> tuple[int, str, str]:
    """Sort as torchvision's ImageFolder lists: class, folder, file name with its suffix."""
    return sample.label, sample.path.parent.as_posix(), sample.path.name


def _seed_hash(trial_seed: int, domain_index: int) -> int:
    """Return DomainBed's seed of one domain: 31 bits of the MD5 of the text of both numbers."""
    text = str((trial_seed, domain_index)).encode()
    return int(hashlib.md5(text, usedforsecurity=False).hexdigest(), 16) % 2**31


def _held_groups(dataset: DomainDataset, seed: int, holdout: float) -> frozenset[str]:
    """Hold out groups until every class has its share in every domain.

    Groups are mostly the same ones in every domain, so that the first domain decides and the
    others add a few at most.
    """
    generator = np.random.default_rng(seed)
    held: set[str] = set()
    cells: dict[tuple[str, int], dict[str, None]] = defaultdict(dict)
    for sample in dataset.samples:
        cells[sample.domain, sample.label][sample.group] = None
    for cell in sorted(cells):
        groups = list(cells[cell])
        free = [group for group in groups if group not in held]
        missing = _share(len(groups), holdout) - (len(groups) - len(free))
        held.update(_draw(free, max(0, missing), generator))
    return frozenset(held)


def _draw(items: Sequence[T], count: int, generator: np.random.Generator) -> list[T]:
    return [items[index] for index in generator.permutation(len(items))[:count]]


def _check_filled(dataset: DomainDataset, split: Split) -> None:
    parts = {"training": split.train, "validation": split.validation}
    held_out = [domain for domain in dataset.domains if domain not in split.train]
    parts["test"] = {domain: split.tests.get(domain, ()) for domain in held_out}
    for part, domains in parts.items():
        for domain, samples in domains.items():
            if not samples:
                raise DataError(
                    f"data set {dataset.name!r}: domain {domain!r} has too few images for a split"
                    f" by {split.facts.by}: none is left for {part}"
                )
