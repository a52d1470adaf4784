"""Accuracy per domain, and the division of the data that an evaluation belongs to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import nn

from edgeprune.domains import DomainDataset, ImageStore, Split, divide, load_images
from edgeprune.errors import ModelError, UsageError
from edgeprune.model import Model, check_class_names, check_classes
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import (
    ArtifactRecord,
    DataFacts,
    DGResult,
    DomainAccuracy,
    EvalResult,
    Selection,
)
from edgeprune.selection import ORACLE, selection_of
from edgeprune.training.compute import autocast
from edgeprune.training.onnx_model import OnnxModel

BATCH_SIZE = 64
Z95 = 1.959964

Predictor = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Tally:
    """How many of ``n`` images were classified correctly."""

    correct: int
    n: int

    @property
    def accuracy(self) -> float:
        """Share of correct ones, percent."""
        return 100.0 * self.correct / self.n

    def with_interval(self) -> DomainAccuracy:
        """Return the accuracy with its 95 % interval."""
        return DomainAccuracy(accuracy=self.accuracy, n=self.n, ci95=wilson(self.correct, self.n))


def wilson(correct: int, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share, percent (Wilson, 1927)."""
    share, z2 = correct / n, Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return 100.0 * max(0.0, middle - half), 100.0 * min(1.0, middle + half)


def mean_interval(found: Sequence[DomainAccuracy]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of accuracies on different domains, percent.

    From the intervals of each (Zou and Donner, 2008); of one domain it is that interval.
    """
    middle, count = fmean(one.accuracy for one in found), len(found)
    below = math.hypot(*(one.accuracy - one.ci95[0] for one in found)) / count
    above = math.hypot(*(one.ci95[1] - one.accuracy for one in found)) / count
    return middle - below, middle + above


def evaluate(
    model: Model | OnnxModel,
    dataset: DomainDataset,
    split: Split,
    *,
    batch_size: int = BATCH_SIZE,
    progress: Progress = SILENT,
) -> EvalResult:
    """Score a model: source domains on their validation images, held-out ones on their test images.

    A :class:`Model` runs where its parameters are, an :class:`OnnxModel` on the CPU.

    Raises:
        ModelError: if its classes are not those of the data.
        DataError: if an image cannot be read.
    """
    if batch_size < 1:
        raise UsageError(f"batch size {batch_size!r} is not accepted: at least 1")
    if isinstance(model, OnnxModel):
        _check_onnx_classes(model, dataset.classes)
        name, selection = model.name, model.selection
        predict: Predictor = model.logits
    else:
        check_classes(model, dataset.classes)
        name, selection = model.record.model, selection_of(model.record.made)
        predict = predictor(model.module)
    tallies = {
        domain: tally(
            predict,
            load_images(samples, model.preprocess, progress=progress),
            description=f"scoring {domain}",
            batch_size=batch_size,
            progress=progress,
        )
        for domain, samples in {**split.validation, **split.tests}.items()
    }
    return EvalResult(model=name, dg=dg_result(dataset, split, tallies, selection))


def tally(
    predict: Predictor,
    store: ImageStore,
    *,
    description: str,
    batch_size: int = BATCH_SIZE,
    progress: Progress = SILENT,
) -> Tally:
    """Count the images of ``store`` whose highest logit is that of their label."""
    count = len(store.labels)
    starts = range(0, count, batch_size)
    correct = 0
    for start in progress.track(starts, description, len(starts)):
        indices = range(start, min(start + batch_size, count))
        found = predict(store.eval_batch(indices)).argmax(dim=1)
        correct += int((found == store.labels[start : indices.stop]).sum())
    return Tally(correct, count)


def pool(tallies: Sequence[Tally]) -> Tally:
    """Return the tally over all images together."""
    return Tally(sum(t.correct for t in tallies), sum(t.n for t in tallies))


def dg_result(
    dataset: DomainDataset,
    split: Split,
    tallies: Mapping[str, Tally],
    selection: Selection | None,
) -> DGResult:
    """Put the tallies of the target and of every source domain into a result."""
    sources = [tallies[domain] for domain in split.validation]
    targets = [tallies[domain].with_interval() for domain in split.targets]
    return DGResult(
        dataset=dataset.name,
        target=split.target,
        targets=split.targets,
        sources=split.sources,
        split=split.facts,
        selection=selection,
        target_accuracy=fmean(found.accuracy for found in targets),
        target_ci95=mean_interval(targets),
        source_val_accuracy=pool(sources).accuracy,
        domains={name: tallies[name].with_interval() for name in dataset.domains},
    )


def predictor(module: nn.Module, precision: str = "fp32") -> Predictor:
    """Return a function from images to fp32 logits, both on the CPU; ``module`` is put to eval."""
    device = next(module.parameters()).device
    module.eval()

    def predict(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), autocast(device, precision):
            logits: torch.Tensor = module(images.to(device))
        return logits.float().cpu()

    return predict


def choose_split(
    dataset: DomainDataset,
    record: ArtifactRecord | None = None,
    *,
    target: str | None = None,
    source: str | None = None,
    by: str | None = None,
    seed: int | None = None,
    progress: Progress = SILENT,
) -> Split:
    """Divide the data as the artifact's training did, unless told otherwise.

    What differs from training in a way that flatters the model is said through ``progress``.

    Raises:
        UsageError: if neither ``target``, ``source`` nor the record says which domains are held
            out, or one is unknown.
    """
    trained = trained_on(record, dataset) if record else None
    if trained is None:
        return divide(dataset, target=target, source=source, by=by, seed=seed or 0)
    if target is None and source is None:
        alone = len(trained.sources) == 1
        target, source = (None, trained.sources[0]) if alone else (trained.target, None)
    split = divide(
        dataset,
        target=target,
        source=source,
        by=by if by is not None else trained.split.by,
        seed=seed if seed is not None else trained.split.seed,
        holdout=trained.split.holdout,
    )
    if record is not None:
        warn_of_leaks(record, dataset, split, "the model", progress)
    return split


def trained_on(record: ArtifactRecord, dataset: DomainDataset) -> DataFacts | None:
    """Return which part of ``dataset`` the artifact was last made with, if any."""
    used = [step.data for step in record.made if step.data and step.data.dataset == dataset.name]
    return used[-1] if used else None


def warn_of_leaks(
    record: ArtifactRecord, dataset: DomainDataset, split: Split, who: str, progress: Progress
) -> None:
    """Say if what ``split`` scores may have been trained on, or used to pick a step, before."""
    if selection_of(record.made) == "oracle":
        progress.say(f"note: {who} was made by {ORACLE}")
    for step in record.made:
        used = step.data
        if used is None or used.dataset != dataset.name:
            continue
        sources = used.sources or [name for name in dataset.domains if name != used.target]
        seen = [name for name in split.targets if name in sources]
        if seen:
            progress.say(
                f"note: {who} was made ({step.command}) with images of {', '.join(seen)}: its"
                " accuracy there is not that on an unseen domain"
            )
        elif used.split != split.facts:
            progress.say(
                f"note: {who} was made ({step.command}) with another split: images that are"
                " scored now may have been trained on"
            )
        elif used.fingerprint != dataset.fingerprint:
            progress.say(
                f"note: data set {dataset.name!r} has changed since {who} was made"
                f" ({step.command}): images that are scored now may have been trained on"
            )
        else:
            continue
        return


def _check_onnx_classes(model: OnnxModel, classes: Sequence[str]) -> None:
    if len(model.classes) != len(classes):
        raise ModelError(
            f"the model has {len(model.classes)} classes, the data have {len(classes)}"
        )
    check_class_names(model.classes, classes)
