"""What a model lost against the dense one: paired image by image, with an interval."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeprune.errors import ResultError
from edgeprune.predictions import Predictions, Scored
from edgeprune.schema import Drop

RESAMPLES = 10_000
SEED = 0
# Counts that are drawn at a time, so that memory stays small.
CHUNK = 4_000_000

Floats = npt.NDArray[np.float64]


def compare(predictions: Predictions, dense: Predictions, *, against: str) -> Drop:
    """Return the drop of the accuracy on the target against the dense model.

    Both saw the same images, so that what is resampled are the differences per image: a paired
    bootstrap (Efron and Tibshirani, 1993, chapter 8), percentile interval, 10,000 resamples, fixed
    seed. Where the split is by group, images of one group are alike and whole groups are
    resampled. Of several held-out domains the accuracies are averaged, as in the result; images
    are resampled within each, groups through all of them.

    Args:
        predictions: of the model, often a pruned one.
        dense: of the model that it is held against.
        against: the name of the latter.

    Raises:
        ResultError: if the two were not scored on the same images in the same order.
    """
    check_paired(predictions, dense)
    by_group = predictions.facts.split.by == "group"
    pairs = list(zip(predictions.targets, dense.targets, strict=True))
    differences = [model.correct.astype(np.float64) - other.correct for model, other in pairs]
    resampled = _resampled(differences, predictions.targets, by_group)
    low, high = np.percentile(resampled, [2.5, 97.5])
    flips = [m.logits.argmax(axis=1) != d.logits.argmax(axis=1) for m, d in pairs]
    return Drop(
        against=against,
        points=100.0 * float(np.mean([values.mean() for values in differences])),
        ci95=(100.0 * float(low), 100.0 * float(high)),
        flipped=100.0 * float(np.mean([values.mean() for values in flips])),
        n=sum(len(values) for values in differences),
        resampled="group" if by_group else "image",
    )


def check_paired(first: Predictions, second: Predictions) -> None:
    """Check that two files answer the same images of the target, in the same order.

    Raises:
        ResultError: naming the first difference.
    """
    one, two = first.facts, second.facts
    for what, a, b in (
        ("data set", one.dataset, two.dataset),
        ("targets", one.targets, two.targets),
        ("split", one.split.by, two.split.by),
        ("classes", one.class_names, two.class_names),
    ):
        if a != b:
            raise ResultError(f"predictions cannot be paired: {what} {a!r} and {b!r}")
    for name in one.targets:
        for part in ("images", "labels", "groups"):
            mine, other = (getattr(found.domains[name], part) for found in (first, second))
            if not np.array_equal(mine, other):
                raise ResultError(
                    f"predictions cannot be paired: the {part} of {name!r} are not the same"
                    f" ({len(mine)} and {len(other)} of them)"
                )


def _resampled(differences: list[Floats], targets: list[Scored], by_group: bool) -> Floats:
    """Return the mean over domains of the mean difference in every resample, ``(RESAMPLES,)``."""
    generator = np.random.default_rng(SEED)
    if by_group:
        return _means(*_per_group(differences, targets), generator)
    parts = [_means(d[:, None], np.ones((len(d), 1)), generator) for d in differences]
    return np.asarray(np.mean(parts, axis=0))


def _per_group(differences: list[Floats], targets: list[Scored]) -> tuple[Floats, Floats]:
    """Return the sum of the differences and the count of images, ``(groups, domains)`` each."""
    groups = np.unique(np.concatenate([scored.groups for scored in targets]))
    sums, counts = np.zeros((2, len(groups), len(targets)))
    for column, (values, scored) in enumerate(zip(differences, targets, strict=True)):
        place = np.searchsorted(groups, scored.groups)
        sums[:, column] = np.bincount(place, weights=values, minlength=len(groups))
        counts[:, column] = np.bincount(place, minlength=len(groups))
    return sums, counts


def _means(sums: Floats, counts: Floats, generator: np.random.Generator) -> Floats:
    """Resample clusters and return the mean over domains of sum by count, ``(RESAMPLES,)``.

    Clusters with the same figures are drawn as one kind: few kinds stand for many images. A domain
    without an image in a resample is left out of its mean.
    """
    domains = sums.shape[1]
    kinds, repeats = np.unique(np.hstack([sums, counts]), axis=0, return_counts=True)
    shares = repeats / repeats.sum()
    size = max(1, CHUNK // len(kinds))
    found = []
    for start in range(0, RESAMPLES, size):
        rounds = min(size, RESAMPLES - start)
        totals = generator.multinomial(repeats.sum(), shares, size=rounds) @ kinds
        with np.errstate(invalid="ignore"):
            found.append(np.nanmean(totals[:, :domains] / totals[:, domains:], axis=1))
    return np.concatenate(found)
