"""Accuracy per domain: scoring a model, and the result that its predictions make."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from edgeprune.domains import (
    DomainDataset,
    ImageStore,
    Split,
    load_images,
    warn_of_duplicates,
)
from edgeprune.drop import compare
from edgeprune.environment import artifact_versions, available_cores, cpu_name
from edgeprune.errors import ModelError, UsageError
from edgeprune.model import Model, check_class_names, check_classes
from edgeprune.predictions import Integers, Logits, Predictions, write_predictions
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import (
    DGResult,
    DomainAccuracy,
    EvalResult,
    MachineFacts,
    Selection,
)
from edgeprune.selection import comparable, selection_of
from edgeprune.training.answers import predictions_of, target_figures
from edgeprune.training.compute import autocast
from edgeprune.training.held_out import warn_of_leaks
from edgeprune.training.onnx_model import OnnxModel

BATCH_SIZE = 64
Z95 = 1.959964

Predictor = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Tally:
    """How many of ``n`` images were classified correctly, and their summed cross-entropy."""

    correct: int
    n: int
    loss_sum: float

    @property
    def accuracy(self) -> float:
        """Share of correct ones, percent."""
        return 100.0 * self.correct / self.n

    @property
    def loss(self) -> float:
        """Mean cross-entropy."""
        return self.loss_sum / self.n

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
    dense: Model | OnnxModel | None = None,
    against: str = "dense",
    output: Path | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress = SILENT,
) -> EvalResult:
    """Score a model: sources on their validation images, held-out domains on their test images.

    A :class:`Model` runs where its parameters are, an :class:`OnnxModel` on the CPU.

    Args:
        model: what is scored.
        dataset: the images.
        split: which of them are scored.
        dense: a model that is scored on the same images, for the drop against it.
        against: the name of ``dense`` in the result.
        output: a file for the predictions of ``model``.
        batch_size: images per forward pass.
        progress: how progress is shown.

    Raises:
        ModelError: if its classes are not those of the data.
        DataError: if an image cannot be read.
        UsageError: if the batch size is below 1, or ``dense`` was selected otherwise.
        OutputError: if ``output`` cannot be written.
    """
    if batch_size < 1:
        raise UsageError(f"batch size {batch_size!r} is not accepted: at least 1")
    selection = _selection(model)
    if dense is not None and not comparable(selection, _selection(dense)):
        raise UsageError(
            f"the model's step was selected by {selection}, that of {against!r} by"
            f" {_selection(dense)}: their accuracies are not compared"
        )
    warn_of_duplicates(split, progress)
    predictions = _predict(model, dataset, split, batch_size, progress)
    drop = None
    if dense is not None:
        if isinstance(dense, Model):
            warn_of_leaks(dense.record, dataset, split, "the dense model", progress)
        reference = _predict(dense, dataset, split, batch_size, progress)
        drop = compare(predictions, reference, against=against)
    if output is not None:
        write_predictions(predictions, output)
    made = [] if isinstance(model, OnnxModel) else model.record.made
    return EvalResult(
        model=model.name if isinstance(model, OnnxModel) else model.record.model,
        dg=dg_result(predictions, selection),
        drop=drop,
        seed=next((step.seed for step in reversed(made) if step.command == "finetune"), None),
        versions=artifact_versions(),
        machine=machine_facts(),
        fingerprint=predictions.facts.weights_sha256,
    )


def _selection(model: Model | OnnxModel) -> Selection | None:
    return model.selection if isinstance(model, OnnxModel) else selection_of(model.record.made)


def _predict(
    model: Model | OnnxModel,
    dataset: DomainDataset,
    split: Split,
    batch_size: int,
    progress: Progress,
) -> Predictions:
    if isinstance(model, OnnxModel):
        _check_onnx_classes(model, dataset.classes)
        predict: Predictor = model.logits
        fingerprint = model.fingerprint
    else:
        check_classes(model, dataset.classes)
        predict = predictor(model.module)
        fingerprint = model.record.weights_sha256 or None
    logits = {
        domain: logits_of(
            predict,
            load_images(samples, model.preprocess, progress=progress),
            description=f"scoring {domain}",
            batch_size=batch_size,
            progress=progress,
        )
        for domain, samples in {**split.validation, **split.tests}.items()
    }
    return predictions_of(dataset, split, logits, fingerprint)


def logits_of(
    predict: Predictor,
    store: ImageStore,
    *,
    description: str,
    batch_size: int = BATCH_SIZE,
    progress: Progress = SILENT,
) -> Logits:
    """Return the logits of every image of ``store``, float32 ``(n, classes)``."""
    count = len(store.labels)
    starts = range(0, count, batch_size)
    found = [
        predict(store.eval_batch(range(start, min(start + batch_size, count)))).numpy()
        for start in progress.track(starts, description, len(starts))
    ]
    return np.concatenate(found).astype(np.float32, copy=False)


def tally_of(logits: Logits, labels: Integers) -> Tally:
    """Count the images whose highest logit is that of their label, and sum the loss."""
    wanted = torch.from_numpy(labels)
    loss_sum = F.cross_entropy(torch.from_numpy(logits).double(), wanted, reduction="sum").item()
    return Tally(int((logits.argmax(axis=1) == labels).sum()), len(labels), loss_sum)


def pool(tallies: Sequence[Tally]) -> Tally:
    """Return the tally over all images together."""
    return Tally(
        sum(t.correct for t in tallies),
        sum(t.n for t in tallies),
        sum(t.loss_sum for t in tallies),
    )


def dg_result(predictions: Predictions, selection: Selection | None) -> DGResult:
    """Compute the result that the predictions on all domains make."""
    facts = predictions.facts
    tallies = {
        name: tally_of(found.logits, found.labels) for name, found in predictions.domains.items()
    }
    targets = [tallies[name].with_interval() for name in facts.targets]
    return DGResult(
        dataset=facts.dataset,
        target=facts.target,
        targets=facts.targets,
        sources=facts.sources,
        split=facts.split,
        selection=selection,
        target_accuracy=fmean(found.accuracy for found in targets),
        target_ci95=mean_interval(targets),
        source_val_accuracy=pool([tallies[name] for name in facts.sources]).accuracy,
        domains={name: found.with_interval() for name, found in tallies.items()},
        **target_figures(predictions),
    )


def machine_facts() -> MachineFacts:
    """Return the CPU of this machine, and how many cores of it this process may use."""
    return MachineFacts(cpu=cpu_name(), cores=available_cores())


def predictor(module: nn.Module, precision: str = "fp32") -> Predictor:
    """Return a function from images to fp32 logits, both on the CPU; ``module`` is put to eval."""
    device = next(module.parameters()).device
    module.eval()

    def predict(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), autocast(device, precision):
            logits: torch.Tensor = module(images.to(device))
        return logits.float().cpu()

    return predict


def _check_onnx_classes(model: OnnxModel, classes: Sequence[str]) -> None:
    if len(model.classes) != len(classes):
        raise ModelError(
            f"the model has {len(model.classes)} classes, the data have {len(classes)}"
        )
    check_class_names(model.classes, classes)
