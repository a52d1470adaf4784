"""Which calibration images are chosen, and how they are handed out."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_domains import SIZE, write_toy_domains

from edgeprune.domains import Sample, Split, leave_one_out, open_dataset
from edgeprune.images import Preprocess
from edgeprune.progress import SilentProgress
from edgeprune.pruning import Calibration, calibrate, reconstruction_samples
from edgeprune.pruning.calibration import _balanced
from edgeprune.schema import SplitFacts


def _split(counts: dict[str, list[int]]) -> Split:
    """A split with so many training images of every domain and class."""
    train = {
        domain: tuple(
            Sample(Path(f"{domain}/{label}/{i}.png"), label, domain, str(i))
            for label, count in enumerate(own)
            for i in range(count)
        )
        for domain, own in counts.items()
    }
    return Split("target", SplitFacts(by="file", seed=0, holdout=0.2), train, {}, ())


@given(
    domains=st.integers(1, 6), classes=st.integers(1, 8), seed=st.integers(0, 99), data=st.data()
)
def test_few_images_cover_domains_then_classes(
    domains: int, classes: int, seed: int, data: st.DataObject
) -> None:
    split = _split({f"d{i}": [5] * classes for i in range(domains)})
    samples = data.draw(st.integers(1, domains * classes * 5))
    chosen = _balanced(split, samples, seed)
    assert len(set(chosen)) == len(chosen) == samples
    per_domain = Counter(sample.domain for sample in chosen)
    assert len(per_domain) == min(samples, domains)
    assert max(per_domain.values()) - min(per_domain.values()) <= 1
    for domain, count in per_domain.items():
        labels = Counter(sample.label for sample in chosen if sample.domain == domain)
        assert len(labels) == min(count, classes)
        assert max(labels.values()) - min(labels.values()) <= 1
    if samples <= min(domains, classes):
        assert len({sample.label for sample in chosen}) == samples


def test_a_poor_domain_is_not_missed() -> None:
    """As many images as domains have one of each, also where classes are missing."""
    split = _split({"poor": [0, 0, 0, 1], "rich": [9, 9, 9, 9], "odd": [0, 2, 0, 0]})
    for seed in range(20):
        assert {s.domain for s in _balanced(split, 3, seed)} == {"poor", "rich", "odd"}
    assert len(_balanced(split, 1000, 0)) == 39


class Steps(SilentProgress):
    """Remembers how long every loop was."""

    def __init__(self) -> None:
        self.totals: list[int] = []

    def track(self, items, description, total, start=0):  # type: ignore[no-untyped-def]
        self.totals.append(total)
        return super().track(items, description, total, start)


@pytest.fixture
def calibration(tmp_path: Path) -> Calibration:
    dataset = open_dataset(str(write_toy_domains(tmp_path / "toy", per_class=4)))
    preprocess = Preprocess(SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")
    return calibrate(dataset, leave_one_out(dataset, "night"), preprocess, samples=7)


def test_batches_by_domain_are_the_same_images(calibration: Calibration) -> None:
    assert calibration.sources == ("day", "dusk")
    assert sum(calibration.counts.values()) == 7
    assert set(calibration.counts.values()) == {3, 4}
    steps = Steps()
    dealt = [
        (domain, image, int(label))
        for domain, batches in calibration.by_domain(steps, batch=2)
        for images, labels in batches
        for image, label in zip(images, labels, strict=True)
    ]
    assert steps.totals == [4]  # batches of 2 and 2, and of 2 and 1, under one bar
    assert [domain for domain, *_ in dealt] == sorted(calibration.domains)
    mixed = [
        (image, int(label))
        for images, labels in calibration.batches(batch=3)
        for image, label in zip(images, labels, strict=True)
    ]
    order = sorted(range(7), key=calibration.domains.__getitem__)
    for (_, image, label), (other, expected) in zip(dealt, [mixed[i] for i in order], strict=True):
        assert torch.equal(image, other)
        assert label == expected
    # day is the lighter palette
    means = {domain: float(image.max()) for domain, image, _ in dealt}
    assert means["day"] > means["dusk"]


def test_reconstruction_looks_at_more_images_where_they_have_few_tokens() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, pretrained=False)
    # 17 tokens, and an MLP whose second layer has 768 inputs.
    assert reconstruction_samples(model, 64, 256) == math.ceil(16 * 768 / 17)
    assert reconstruction_samples(model, 64, 1000) == 1000


def test_the_layer_with_the_fewest_tokens_for_its_inputs_decides() -> None:
    model = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False)
    # The last stage: 49 tokens of 768 channels, and an MLP of 3072.
    assert reconstruction_samples(model, 224, 1) == math.ceil(16 * 3072 / 49)


def test_fewer_images_are_the_first_of_more(calibration: Calibration, tmp_path: Path) -> None:
    dataset = open_dataset(str(tmp_path / "toy"))
    split = leave_one_out(dataset, "night")
    more = calibrate(dataset, split, calibration.store.preprocess, samples=12)
    assert torch.equal(calibration.store.labels, more.store.labels[:7])
    assert calibration.domains == more.domains[:7]
