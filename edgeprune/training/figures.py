"""Figures of merit from logits and labels: pure functions, all in percent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeprune.predictions import Integers, Logits

CALIBRATION_BINS = 15

Floats = npt.NDArray[np.float64]


def class_accuracy(logits: Logits, labels: Integers) -> list[float | None]:
    """Return the accuracy on the images of each class; None for a class without images.

    Args:
        logits: ``(n, classes)``.
        labels: ``(n,)``, from 0 to classes - 1.
    """
    count = logits.shape[1]
    of = np.bincount(labels, minlength=count)
    right = np.bincount(labels[logits.argmax(axis=1) == labels], minlength=count)
    return [float(100.0 * r / n) if n else None for r, n in zip(right, of, strict=True)]


def calibration_error(logits: Logits, labels: Integers, bins: int = CALIBRATION_BINS) -> float:
    """Return the expected calibration error of the highest class probability.

    The images are put into ``bins`` of equal width by that probability, each open below and closed
    above; the result is the mean distance between accuracy and mean probability in a bin, weighted
    by its images (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017).

    Args:
        logits: ``(n, classes)``, n at least 1.
        labels: ``(n,)``.
    """
    confidence = _probabilities(logits).max(axis=1)
    correct = logits.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    distance = np.bincount(place, weights=correct - confidence, minlength=bins)
    return float(100.0 * np.abs(distance).sum() / len(labels))


def _probabilities(logits: Logits) -> Floats:
    """Return the softmax in float64, ``(n, classes)``."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
