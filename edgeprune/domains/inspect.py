"""Looking through a data set: how many images, how large, and which cannot be read."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from edgeprune.domains.comparison import Comparison, compare
from edgeprune.domains.dataset import RECORD_FILE, DomainDataset, Sample, open_dataset
from edgeprune.domains.duplicates import identical
from edgeprune.domains.images import ImageError, decode
from edgeprune.domains.registry import recognise
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import Document, Facts


class DomainCount(Facts):
    """Images of one domain, and of each class in it."""

    images: int
    classes: dict[str, int]


class SizeRange(Facts):
    """Smallest, median and largest value, in pixels."""

    min: int
    median: float
    max: int


class BadImage(Facts):
    """An image that cannot be read, and why."""

    path: str
    reason: str


class Duplicates(Facts):
    """How many different images several domains share, byte for byte, and one of them."""

    domains: list[str]
    images: int
    example: list[str]


class DataInspection(Document):
    """What ``edgeprune data inspect`` reports.

    ``modes`` counts Pillow's names (RGB, RGBA, P, L, CMYK, I;16); ``ignored`` names files whose
    suffix is not that of an image. Sizes are null where no image could be read. ``comparison``
    sets a known data set against its known counts; null for any other folder.
    """

    SCHEMA: ClassVar[str] = "edgeprune/data-inspect@1"

    data: str
    name: str
    fingerprint: str
    default_split: str
    images: int
    groups: int
    classes: list[str]
    domains: dict[str, DomainCount]
    width_px: SizeRange | None
    height_px: SizeRange | None
    modes: dict[str, int]
    unreadable: list[BadImage]
    animated: list[BadImage]
    ignored: list[str]
    duplicates: list[Duplicates]
    comparison: Comparison | None


def inspect(data: str, *, progress: Progress = SILENT) -> DataInspection:
    """Read every image of ``emoji`` or of a folder once, and report what was found.

    Raises:
        DataError: if the folder is not laid out as ROOT/DOMAIN/CLASS/IMAGE.
    """
    dataset = open_dataset(data)
    widths: list[int] = []
    heights: list[int] = []
    modes: Counter[str] = Counter()
    unreadable: list[BadImage] = []
    animated: list[BadImage] = []
    readable: list[Sample] = []
    for sample in progress.track(dataset.samples, "reading images", len(dataset.samples)):
        try:
            decoded = decode(sample.path)
        except ImageError as error:
            bad = BadImage(path=str(sample.path), reason=error.reason)
            (animated if error.animated else unreadable).append(bad)
        else:
            widths.append(decoded.image.width)
            heights.append(decoded.image.height)
            modes[decoded.mode] += 1
            readable.append(sample)
    known = recognise(dataset)
    domains = {domain: _count(dataset, domain) for domain in dataset.domains}
    counts = {domain: count.classes for domain, count in domains.items()}
    return DataInspection(
        data=data,
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        default_split=dataset.default_split,
        images=len(dataset.samples),
        groups=len({sample.group for sample in dataset.samples}),
        classes=list(dataset.classes),
        domains=domains,
        width_px=_range(widths),
        height_px=_range(heights),
        modes=dict(sorted(modes.items())),
        unreadable=unreadable,
        animated=animated,
        ignored=_ignored(Path(data), dataset) if Path(data).is_dir() else [],
        duplicates=_duplicates(identical(readable, progress)),
        comparison=compare(known, counts) if known else None,
    )


def _count(dataset: DomainDataset, domain: str) -> DomainCount:
    labels = Counter(sample.label for sample in dataset.of(domain))
    classes = {name: labels[label] for label, name in enumerate(dataset.classes)}
    return DomainCount(images=sum(classes.values()), classes=classes)


def _duplicates(found: Iterable[Sequence[Sample]]) -> list[Duplicates]:
    """Count images that stand in several domains: a model could see the target in training."""
    shared: dict[tuple[str, ...], list[Sequence[Sample]]] = defaultdict(list)
    for samples in found:
        shared[tuple(sorted({sample.domain for sample in samples}))].append(samples)
    return [
        Duplicates(
            domains=list(domains),
            images=len(found),
            example=[str(sample.path) for sample in found[0]],
        )
        for domains, found in sorted(shared.items())
    ]


def _range(values: Sequence[int]) -> SizeRange | None:
    if not values:
        return None
    return SizeRange(min=min(values), median=statistics.median(values), max=max(values))


def _ignored(root: Path, dataset: DomainDataset) -> list[str]:
    used = {sample.path for sample in dataset.samples} | {root / RECORD_FILE}
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file()
        and path not in used
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
