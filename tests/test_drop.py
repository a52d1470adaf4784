from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from prediction_files import predictions

from edgeprune.drop import compare
from edgeprune.errors import ResultError
from edgeprune.predictions import Predictions, Scored


def _naive(
    model: Predictions, dense: Predictions, by_group: bool, rounds: int = 4000
) -> tuple[float, float, float]:
    """Points and interval by resampling images, or groups, one after another."""
    generator = np.random.default_rng(7)
    names = model.facts.targets
    difference = {
        name: [
            float(a.argmax() == label) - float(b.argmax() == label)
            for a, b, label in zip(
                model.domains[name].logits,
                dense.domains[name].logits,
                model.domains[name].labels,
                strict=True,
            )
        ]
        for name in names
    }
    points = np.mean([np.mean(difference[name]) for name in names])
    groups = sorted({int(g) for name in names for g in model.domains[name].groups})
    members = {
        name: {g: np.flatnonzero(model.domains[name].groups == g) for g in groups} for name in names
    }
    found = []
    for _ in range(rounds):
        drawn = generator.choice(len(groups), size=len(groups))
        means = []
        for name in names:
            values = np.array(difference[name])
            if by_group:
                picked = np.concatenate([members[name][groups[g]] for g in drawn])
            else:
                picked = generator.integers(0, len(values), len(values))
            means.append(values[picked].mean())
        found.append(np.mean(means))
    low, high = np.percentile(found, [2.5, 97.5])
    return 100 * float(points), 100 * float(low), 100 * float(high)


@pytest.mark.parametrize(("by", "group_size"), [("file", 1), ("group", 4)])
@pytest.mark.parametrize("targets", [("sea",), ("sea", "sky")])
def test_interval_is_that_of_resampling_one_by_one(
    by: str, group_size: int, targets: tuple[str, ...]
) -> None:
    # Errors that come in groups, so that the two ways of resampling give different intervals.
    how = {"n": 160, "group_size": group_size, "by": by, "targets": targets}
    dense = predictions(seed=1, right=1.0, **how)
    model = _wrong_in_groups(predictions(seed=2, right=1.0, **how))
    drop = compare(model, dense, against="dense")
    points, low, high = _naive(model, dense, by == "group")
    assert drop.points == pytest.approx(points)
    assert drop.ci95 == pytest.approx((low, high), abs=1.0)
    assert drop.n == 160 * len(targets)
    assert drop.flipped == pytest.approx(-points)
    assert drop.resampled == ("group" if by == "group" else "image")
    assert compare(model, dense, against="dense") == drop


def _wrong_in_groups(model: Predictions) -> Predictions:
    """Answer wrongly on every image of a third of the groups."""
    wrong = {
        name: replace(s, logits=np.where((s.groups % 3 == 0)[:, None], -s.logits, s.logits))
        for name, s in model.domains.items()
    }
    return replace(model, domains=wrong)


def test_groups_make_the_interval_wider_than_images_do() -> None:
    widths = {}
    for by in ("file", "group"):
        how = {"n": 160, "group_size": 8, "by": by}
        dense = predictions(seed=1, right=1.0, **how)
        low, high = compare(
            _wrong_in_groups(predictions(seed=1, right=1.0, **how)), dense, against="dense"
        ).ci95
        widths[by] = high - low
    assert widths["group"] > 1.8 * widths["file"]


def test_interval_covers_the_true_drop_at_the_stated_rate() -> None:
    # Right for a share of 0.9 and 0.7, whatever the image: of a third of the rest by chance.
    expected = 100 * (0.7 - 0.9) * (1 - 1 / 3)
    covered = 0
    for seed in range(200):
        dense = predictions(seed=2 * seed, right=0.9, n=300)
        low, high = compare(
            predictions(seed=2 * seed + 1, right=0.7, n=300), dense, against="dense"
        ).ci95
        covered += low <= expected <= high
    assert 180 <= covered <= 199


def test_a_model_loses_nothing_against_itself() -> None:
    drop = compare(predictions(), predictions(), against="itself")
    assert (drop.points, drop.ci95, drop.flipped) == (0.0, (0.0, 0.0), 0.0)


def test_a_domain_with_few_groups_does_not_break_the_interval() -> None:
    model, dense = (
        predictions(seed=seed, n=3, by="group", targets=("sea", "sky")) for seed in (1, 2)
    )
    for found in (model, dense):
        sky = found.domains["sky"]
        lone = Scored(sky.logits[:1], sky.labels[:1], sky.images[:1], sky.groups[:1] + 1)
        found.domains["sky"] = lone  # type: ignore[index]
    drop = compare(model, dense, against="dense")
    assert np.isfinite(drop.ci95).all()
    assert drop.n == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 39}, "the images of 'sea' are not the same"),
        ({"targets": ("sky",)}, r"targets \['sea'\] and \['sky'\]"),
        ({"by": "group"}, "split 'file' and 'group'"),
        ({"group_size": 2}, "the groups of 'sea'"),
    ],
)
def test_what_does_not_pair_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ResultError, match=message):
        compare(predictions(), predictions(**change), against="dense")  # type: ignore[arg-type]


def test_ten_thousand_resamples_take_well_under_a_second() -> None:
    pairs = [
        [predictions(seed=s, n=9000, by=by, group_size=3, targets=("sea", "sky")) for s in (0, 1)]
        for by in ("file", "group")
    ]
    started = time.process_time()
    for model, dense in pairs:
        compare(model, dense, against="dense")
    assert time.process_time() - started < 1.0
