"""Ranges of activations for int8, from images of the source domains.

A range that covers all numbers gives every one of them coarse steps when a few are far out; one
that is too tight clips. Methods differ in what they give up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from onnxscript import ir

from edgeprune.exporting.layers import products
from edgeprune.exporting.observation import Observer
from edgeprune.progress import SILENT, Progress

METHODS = ("minmax", "percentile", "entropy")
BINS = 2048
# Of the numbers, percent, that the percentile method keeps; the rest is clipped, half on each side.
KEPT_PERCENT = 99.99
# Levels of a signed 8-bit number on one side of zero.
LEVELS = 128

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Range:
    """Least and largest number that is represented; 0 lies between them."""

    low: float
    high: float


def activation_ranges(
    found: ir.Model,
    batches: Callable[[], Iterable[torch.Tensor]],
    method: str,
    progress: Progress = SILENT,
) -> dict[str, Range]:
    """Return the range of what every product takes, by the name of the value.

    Args:
        found: a model in fp32.
        batches: gives the calibration images anew, normalised, each time that it is called.
        method: one of :data:`METHODS`.
        progress: where to say what is being done.
    """
    names = {str(product.source.name) for product in products(found)}
    with Observer(found, names) as observer:
        progress.say("calibrating: ranges")
        extremes = _extremes(observer, batches())
        if method == "minmax":
            return extremes
        progress.say("calibrating: distributions")
        histograms = _histograms(observer, batches(), extremes)
    choose = _percentile if method == "percentile" else _entropy
    return {name: choose(counts, extremes[name]) for name, counts in histograms.items()}


def _extremes(observer: Observer, batches: Iterable[torch.Tensor]) -> dict[str, Range]:
    found: dict[str, Range] = {}
    for images in batches:
        for values in observer.values(images):
            for name, array in values.items():
                known = found.get(name, Range(0.0, 0.0))
                low, high = float(array.min()), float(array.max())
                found[name] = Range(min(known.low, low), max(known.high, high))
    return found


def _histograms(
    observer: Observer, batches: Iterable[torch.Tensor], ranges: dict[str, Range]
) -> dict[str, Array]:
    counts = {name: np.zeros(BINS) for name in ranges}
    for images in batches:
        for values in observer.values(images):
            for name, array in values.items():
                edges = (ranges[name].low, ranges[name].high)
                if edges[0] < edges[1]:
                    counts[name] += np.histogram(array, BINS, range=edges)[0]
    return counts


def _percentile(counts: Array, extremes: Range) -> Range:
    """Clip the rarest numbers, as many at either end."""
    if not counts.any():
        return extremes
    share = np.cumsum(counts) / counts.sum()
    edges = np.linspace(extremes.low, extremes.high, BINS + 1)
    clipped = (100 - KEPT_PERCENT) / 200
    low = edges[np.searchsorted(share, clipped, side="right")]
    high = edges[min(int(np.searchsorted(share, 1 - clipped)) + 1, BINS)]
    return Range(min(float(low), 0.0), max(float(high), 0.0))


def _entropy(counts: Array, extremes: Range) -> Range:
    """Clip where the distribution of quantised sizes tells least from that of the sizes.

    The rule of TensorRT's calibrator (Migacz, 8-bit inference with TensorRT, 2017), on absolute
    numbers: of all thresholds that one with the least Kullback-Leibler divergence.
    """
    edges = np.linspace(extremes.low, extremes.high, BINS + 1)
    middles = np.abs(edges[:-1] + edges[1:]) / 2
    largest = max(-extremes.low, extremes.high)
    if not counts.any():
        return extremes
    sizes, _ = np.histogram(middles, BINS, range=(0, largest), weights=counts)
    best, threshold = np.inf, BINS
    for count in range(LEVELS, BINS + 1, 8):
        divergence = _divergence(sizes, count)
        if divergence < best:
            best, threshold = divergence, count
    limit = largest * threshold / BINS
    return Range(max(extremes.low, -limit), min(extremes.high, limit))


def _divergence(sizes: Array, count: int) -> float:
    """Return the divergence between the first ``count`` bins and what 8 bits keep of them."""
    expected = sizes[:count].copy()
    quantised = _merged(expected)
    expected[-1] += sizes[count:].sum()
    expected, quantised = expected / expected.sum(), quantised / max(quantised.sum(), 1e-12)
    used = expected > 0
    return float(
        np.sum(expected[used] * np.log(expected[used] / np.maximum(quantised[used], 1e-12)))
    )


def _merged(sizes: Array) -> Array:
    """Spread what falls on one level evenly over those of its bins that are not empty."""
    level = np.arange(len(sizes)) * LEVELS // len(sizes)
    filled = sizes > 0
    totals = np.bincount(level, sizes, LEVELS)
    bins = np.maximum(np.bincount(level, filled, LEVELS), 1)
    merged: Array = np.where(filled, (totals / bins)[level], 0.0)
    return merged
