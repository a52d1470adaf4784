"""Answers of a model on a divided data set, and the figures that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

import numpy as np

from edgeprune.domains import DomainDataset, Split
from edgeprune.predictions import Logits, PredictionFacts, Predictions, Scored, digests
from edgeprune.schema import NamedAccuracy
from edgeprune.training.figures import calibration_error, class_accuracy


def predictions_of(
    dataset: DomainDataset,
    split: Split,
    logits: Mapping[str, Logits],
    weights_sha256: str | None = None,
) -> Predictions:
    """Put the logits of every scored domain beside what tells its images apart.

    An image is told by its domain, class and file name, wherever the data lie; a drawing that
    stands in several domains is of one group.
    """
    samples = {**split.validation, **split.tests}
    names = [name for name in dataset.domains if name in samples]
    facts = PredictionFacts(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        split=split.facts,
        domains=names,
        target=split.target,
        targets=split.targets,
        class_names=list(dataset.classes),
        weights_sha256=weights_sha256,
    )
    return Predictions(
        facts,
        {
            name: Scored(
                logits=logits[name],
                labels=np.array([s.label for s in samples[name]], dtype=np.int64),
                images=digests(
                    f"{s.domain}/{dataset.classes[s.label]}/{s.path.name}" for s in samples[name]
                ),
                groups=digests(s.group for s in samples[name]),
            )
            for name in names
        },
    )


def target_figures(predictions: Predictions) -> dict[str, Any]:
    """Return figures of the target as fields of a DGResult; of several domains, their means."""
    targets = predictions.targets
    by_class = zip(*(class_accuracy(t.logits, t.labels) for t in targets), strict=True)
    accuracy = dict(zip(predictions.facts.class_names, map(_mean, by_class), strict=True))
    return {
        "class_accuracy": accuracy,
        "balanced_accuracy": _mean(accuracy.values()),
        "calibration_error": fmean(calibration_error(t.logits, t.labels) for t in targets),
        "worst_domain": _worst(predictions),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of those that are there."""
    found = [value for value in values if value is not None]
    return fmean(found) if found else None


def _worst(predictions: Predictions) -> NamedAccuracy:
    found = {name: 100.0 * float(s.correct.mean()) for name, s in predictions.domains.items()}
    name = min(found, key=lambda name: found[name])
    return NamedAccuracy(name=name, accuracy=found[name])
