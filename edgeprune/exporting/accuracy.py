"""Accuracy of an exported file beside that of PyTorch, on the same images of every domain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from edgeprune.domains import DomainDataset, ImageStore, Sample, Split, load_images
from edgeprune.errors import UsageError
from edgeprune.model import Model, check_classes
from edgeprune.onnx_runner import Runner
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import DomainParity, SourceParity
from edgeprune.training.evaluation import BATCH_SIZE, Z95, Predictor, predictor


@dataclass(frozen=True)
class Labelled:
    """Images with labels, and how they are divided.

    Attributes:
        dataset: the data set.
        split: int8 is calibrated on its training images; files are scored on the validation
            images of every source domain and the test images of the target.
        per_domain: score this many images of a domain at most; None for all.
    """

    dataset: DomainDataset
    split: Split
    per_domain: int | None = None


@dataclass(frozen=True)
class Answers:
    """What PyTorch answers to the images that files are scored on, by domain.

    Attributes:
        labelled: where the images come from.
        stores: the images.
        logits: ``(n, classes)`` of every domain.
    """

    labelled: Labelled
    stores: Mapping[str, ImageStore]
    logits: Mapping[str, torch.Tensor]

    @property
    def sources(self) -> list[str]:
        """The source domains."""
        return sorted(self.labelled.split.validation)


def answers(model: Model, labelled: Labelled, progress: Progress = SILENT) -> Answers:
    """Score a model in PyTorch on the source domains and on the target.

    Raises:
        ModelError: if its classes are not those of the data.
        UsageError: if no image would be left.
        DataError: if an image cannot be read.
    """
    if labelled.per_domain is not None and labelled.per_domain < 1:
        raise UsageError(f"{labelled.per_domain} images of a domain are not accepted; 1 or more")
    check_classes(model, labelled.dataset.classes)
    split = labelled.split
    stores = {
        domain: load_images(
            _spread(samples, labelled.per_domain), model.preprocess, progress=progress
        )
        for domain, samples in {**split.validation, split.target: split.test}.items()
    }
    predict = predictor(model.module)
    logits = {
        domain: _logits(predict, store, f"PyTorch on {domain}", progress)
        for domain, store in stores.items()
    }
    return Answers(labelled, stores, logits)


def compare(
    expected: Answers, file: Runner, progress: Progress = SILENT, *, sources_only: bool = False
) -> dict[str, DomainParity]:
    """Score a file on the same images, by domain."""

    def predict(images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(file.logits(images.numpy()))

    domains = expected.sources if sources_only else list(expected.stores)
    return {
        domain: _compare(
            expected.logits[domain],
            _logits(predict, expected.stores[domain], f"the file on {domain}", progress),
            expected.stores[domain].labels,
        )
        for domain in domains
    }


def pooled(expected: Answers, found: Mapping[str, DomainParity]) -> SourceParity:
    """Return accuracy on all validation images of the source domains together."""
    counts = {domain: found[domain].n for domain in expected.sources}
    total = sum(counts.values())

    def mean(name: str) -> float:
        parts = (getattr(found[domain], name) * count for domain, count in counts.items())
        return math.fsum(parts) / total

    file, pytorch = mean("accuracy"), mean("pytorch")
    return SourceParity(accuracy=file, pytorch=pytorch, drop=pytorch - file, n=total)


def complaints(expected: Answers, found: Mapping[str, DomainParity], max_drop: float) -> list[str]:
    """Return in what the accuracy of a file is too low.

    On the pooled source domains the drop itself counts. A single domain has few images: there it
    counts if the whole 95 % interval of the paired drop lies above the limit.
    """
    texts = []
    sources = pooled(expected, found)
    if not sources.drop <= max_drop:
        texts.append(
            f"accuracy on source validation falls from {sources.pytorch:.1f} %"
            f" to {sources.accuracy:.1f} %"
        )
    texts += [
        f"accuracy on {domain!r} falls from {own.pytorch:.1f} % to {own.accuracy:.1f} %"
        for domain, own in found.items()
        if not own.drop_ci95[0] <= max_drop
    ]
    return texts


def worst(found: Mapping[str, DomainParity]) -> str:
    """Return the domain on which the file is least accurate."""
    return min(found, key=lambda domain: found[domain].accuracy)


def _spread(samples: tuple[Sample, ...], count: int | None) -> tuple[Sample, ...]:
    """Take ``count`` of the samples, evenly spaced."""
    if count is None or count >= len(samples):
        return tuple(samples)
    chosen = np.linspace(0, len(samples) - 1, count).round().astype(int)
    return tuple(samples[index] for index in chosen)


def _logits(
    predict: Predictor, store: ImageStore, description: str, progress: Progress
) -> torch.Tensor:
    starts = range(0, len(store), BATCH_SIZE)
    parts = [
        predict(store.eval_batch(range(start, min(start + BATCH_SIZE, len(store)))))
        for start in progress.track(starts, description, len(starts))
    ]
    return torch.cat(parts)


def _compare(expected: torch.Tensor, found: torch.Tensor, labels: torch.Tensor) -> DomainParity:
    count = len(labels)
    right, kept = expected.argmax(1) == labels, found.argmax(1) == labels
    lost, gained = int((right & ~kept).sum()), int((kept & ~right).sum())
    drop = (lost - gained) / count
    # of paired shares (Agresti, Categorical Data Analysis, 10.1)
    half = Z95 * math.sqrt(max(lost + gained - (lost - gained) ** 2 / count, 0)) / count
    difference = (expected - found).abs()
    return DomainParity(
        accuracy=_percent(kept),
        pytorch=_percent(right),
        drop_ci95=(100 * (drop - half), 100 * (drop + half)),
        n=count,
        top1_agreement=_percent(expected.argmax(1) == found.argmax(1)),
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
    )


def _percent(held: torch.Tensor) -> float:
    return 100.0 * int(held.sum()) / len(held)
