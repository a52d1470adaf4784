"""Predictions of models that are right for a given share of the images."""

from __future__ import annotations

import numpy as np

from edgeprune.predictions import PredictionFacts, Predictions, Scored, digests
from edgeprune.schema import SplitFacts

CLASSES = 3


def predictions(
    *,
    seed: int = 0,
    right: float = 0.7,
    n: int = 40,
    group_size: int = 1,
    targets: tuple[str, ...] = ("sea",),
    by: str = "file",
    weights_sha256: str | None = None,
) -> Predictions:
    """Return random answers on three domains of ``n`` images; images depend on ``n`` alone."""
    generator = np.random.default_rng(seed)
    names = ("land", "sea", "sky")
    facts = PredictionFacts(
        dataset="toy",
        fingerprint="0",
        split=SplitFacts(by=by, seed=0, holdout=0.2),
        domains=list(names),
        target=targets[0] if len(targets) == 1 else "all but land",
        targets=list(targets),
        class_names=[f"class {number}" for number in range(CLASSES)],
        weights_sha256=weights_sha256,
    )
    return Predictions(
        facts, {name: _scored(name, generator, right, n, group_size) for name in names}
    )


def _scored(
    name: str, generator: np.random.Generator, right: float, n: int, group_size: int
) -> Scored:
    labels = np.arange(n, dtype=np.int64) % CLASSES
    logits = generator.normal(size=(n, CLASSES)).astype(np.float32)
    is_right = generator.random(n) < right
    logits[is_right, labels[is_right]] = 9.0
    return Scored(
        logits=logits,
        labels=labels,
        images=digests(f"{name}/{index}" for index in range(n)),
        groups=digests(str(index // group_size) for index in range(n)),
    )
