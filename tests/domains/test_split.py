from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torchvision.datasets import ImageFolder

from edgeprune.domains import (
    DomainDataset,
    Sample,
    data_facts,
    divide,
    leave_one_out,
    open_dataset,
    single_source,
)
from edgeprune.errors import DataError, UsageError


def dataset(cells: dict[str, list[list[str]]], default: str = "file") -> DomainDataset:
    """From the groups of each image, by domain and class."""
    samples = [
        Sample(Path(f"{domain}/{label}/{index}.png"), label, domain, group)
        for domain in sorted(cells)
        for label, groups in enumerate(cells[domain])
        for index, group in enumerate(groups)
    ]
    classes = tuple(f"class{label}" for label in range(len(next(iter(cells.values())))))
    return DomainDataset("toy", tuple(sorted(cells)), classes, tuple(samples), "0" * 64, default)


@st.composite
def datasets(draw: st.DrawFn) -> DomainDataset:
    domains = draw(st.integers(2, 4))
    classes = draw(st.integers(2, 4))
    name = st.integers(0, 60).map(str)
    groups = st.lists(name, min_size=6, max_size=30)
    return dataset(
        {f"d{d}": [draw(groups) for _ in range(classes)] for d in range(domains)},
        draw(st.sampled_from(["file", "group"])),
    )


COMMON = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
)
SEEDS = st.integers(0, 1000)


@COMMON
@given(data=datasets(), seed=SEEDS, by=st.sampled_from(["file", "group", None]))
def test_parts_never_overlap(data: DomainDataset, seed: int, by: str | None) -> None:
    try:
        split = leave_one_out(data, "d0", by=by, seed=seed)
    except DataError:
        return  # groups that touch everything leave nothing to train on
    train = [sample for part in split.train.values() for sample in part]
    validation = [sample for part in split.validation.values() for sample in part]
    assert max(Counter(train + validation + list(split.test)).values()) == 1
    assert "d0" not in split.train
    assert "d0" not in split.validation
    assert {sample.domain for sample in train + validation} == set(data.domains) - {"d0"}
    assert {sample.domain for sample in split.test} == {"d0"}
    sources = sum(len(data.of(domain)) for domain in data.domains if domain != "d0")
    assert len(train) + len(validation) == sources
    if split.facts.by == "group":
        held = {sample.group for sample in validation} | {sample.group for sample in split.test}
        assert not held & {sample.group for sample in train}
    else:
        assert split.test == data.of("d0")
    assert split == leave_one_out(data, "d0", by=by, seed=seed)


@COMMON
@given(data=datasets(), seed=SEEDS, by=st.sampled_from(["file", "group", None]))
def test_one_source_and_everything_else_held_out(
    data: DomainDataset, seed: int, by: str | None
) -> None:
    try:
        split = single_source(data, "d0", by=by, seed=seed)
    except DataError:
        return
    train, validation = split.train["d0"], split.validation["d0"]
    others = [domain for domain in data.domains if domain != "d0"]
    assert (split.sources, split.targets, list(split.tests)) == (["d0"], others, others)
    assert Counter(train + validation) == Counter(data.of("d0"))
    if split.facts.by == "group":
        held = {sample.group for sample in (*validation, *split.test)}
        assert not held & {sample.group for sample in train}
        kept = [s for d in others for s in data.of(d) if s not in split.test]
        assert {sample.group for sample in kept}.isdisjoint(held)
    else:
        assert split.tests == {domain: data.of(domain) for domain in others}
    if len(others) == 1:
        assert split == leave_one_out(data, others[0], by=by, seed=seed)
    else:
        assert split.target == "all but d0"
        assert train == leave_one_out(data, others[0], by=by, seed=seed).train["d0"]


def test_exactly_one_of_target_and_source_is_taken() -> None:
    data = dataset({"a": [["x", "y"]] * 2, "b": [["x", "y"]] * 2})
    with pytest.raises(UsageError, match=r"--source DOMAIN\); accepted: a, b"):
        divide(data)
    with pytest.raises(UsageError, match="give one of the two"):
        divide(data, target="a", source="b")
    with pytest.raises(UsageError, match="unknown domain 'c'"):
        divide(data, source="c")


def published_split(root: Path, domain_index: int, trial_seed: int) -> tuple[set[str], set[str]]:
    """Divide one domain by the published description alone: (held out, kept)."""
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    listed = [path for path, _ in ImageFolder(str(root / names[domain_index])).samples]
    digest = hashlib.md5(f"({trial_seed}, {domain_index})".encode()).digest()
    order = list(range(len(listed)))
    np.random.RandomState(int.from_bytes(digest, "big") & 0x7FFFFFFF).shuffle(order)
    count = int(len(listed) * 0.2)
    shuffled = [listed[index] for index in order]
    return set(shuffled[:count]), set(shuffled[count:])


@pytest.mark.parametrize("trial_seed", [0, 1, 2, 41])
def test_split_by_file_is_the_published_one(tmp_path: Path, trial_seed: int) -> None:
    # Domains by size and class; names whose order with and without suffix differs.
    sizes = {"photo": (7, 16), "Art": (31, 4), "sketch": (12, 12), "cartoon": (3, 51)}
    for domain, counts in sizes.items():
        for kind, count in zip(("dog", "cat"), counts, strict=True):
            (tmp_path / domain / kind / "more").mkdir(parents=True)
            names = [f"{'pic' if index % 2 else 'pic-1'}{index % 12}" for index in range(count)]
            for index, name in enumerate(names):
                part = "more" if index % 5 == 0 else "."
                suffix = ".jpg" if index % 3 else ".PNG"
                (tmp_path / domain / kind / part / f"{name}.{index}{suffix}").touch()
            (tmp_path / domain / kind / "pic.jpg").touch()
            (tmp_path / domain / kind / "pic-1.jpg").touch()
    data = open_dataset(str(tmp_path))
    assert data.domains == ("Art", "cartoon", "photo", "sketch")
    split = leave_one_out(data, "photo", by="file", seed=trial_seed)
    for index, domain in enumerate(data.domains):
        held, kept = published_split(tmp_path, index, trial_seed)
        if domain != "photo":
            assert {str(sample.path) for sample in split.validation[domain]} == held
            assert {str(sample.path) for sample in split.train[domain]} == kept


def test_split_by_file_holds_out_a_fifth_rounded_down() -> None:
    cells = [[str(index) for index in range(n)] for n in (11, 8)]
    split = leave_one_out(dataset({"a": cells, "b": cells}), "b", by="file")
    assert (len(split.validation["a"]), len(split.train["a"])) == (3, 16)


@COMMON
@given(seed=SEEDS, count=st.integers(5, 40))
def test_groups_are_held_in_the_same_share_everywhere(seed: int, count: int) -> None:
    cells = [[f"{label}-{index}" for index in range(count)] for label in range(3)]
    # The second domain lacks one drawing of each class.
    split = leave_one_out(
        dataset({"a": cells, "b": [cell[1:] for cell in cells], "c": cells}),
        "c",
        by="group",
        seed=seed,
    )
    share = defaultdict(int)
    for sample in split.test:
        share[sample.label] += 1
    for label in range(3):
        assert abs(share[label] - round(count * 0.2)) <= 1
    test = {sample.group for sample in split.test}
    assert {sample.group for part in split.validation.values() for sample in part} <= test


def test_division_does_not_depend_on_the_target() -> None:
    cells = [[f"{label}-{index}" for index in range(20)] for label in range(2)]
    data = dataset({"a": cells, "b": cells, "c": cells})
    for by in ("file", "group"):
        one, two = (leave_one_out(data, target, by=by, seed=3) for target in ("a", "b"))
        assert one.train["c"] == two.train["c"]
        assert one.train["c"] != leave_one_out(data, "a", by=by, seed=4).train["c"]


def test_skin_tones_stay_together() -> None:
    cells = [[f"{label}-{index // 6}" for index in range(60)] for label in range(2)]
    split = leave_one_out(dataset({"a": cells, "b": cells}, "group"), "b")
    assert split.facts.by == "group"
    assert {sample.group for sample in split.train["a"]}.isdisjoint(
        {sample.group for sample in split.validation["a"]}
    )
    assert len(split.validation["a"]) == 2 * 2 * 6


def test_bad_requests() -> None:
    cells = [[str(index) for index in range(9)], [str(index + 9) for index in range(9)]]
    data = dataset({"art": cells, "photo": cells})
    with pytest.raises(UsageError, match=r"unknown domain 'phot'; accepted: art, photo") as caught:
        leave_one_out(data, "phot")
    assert caught.value.hint == "did you mean 'photo'?"
    with pytest.raises(UsageError, match=r"unknown split 'emoji'; accepted: file, group"):
        leave_one_out(data, "art", by="emoji")
    for holdout in (0.0, 1.0, -0.2):
        with pytest.raises(UsageError, match="between 0 and 1"):
            leave_one_out(data, "art", holdout=holdout)


def test_too_few_images() -> None:
    data = dataset({"a": [["1"], ["2"]], "b": [["3"], ["4"]]})
    with pytest.raises(DataError, match=r"domain 'b' has too few images .* left for validation"):
        leave_one_out(data, "a")


def test_data_facts() -> None:
    cells = [[str(index) for index in range(9)], [str(index + 9) for index in range(9)]]
    data = dataset({"a": cells, "b": cells})
    facts = data_facts(data, leave_one_out(data, "a", seed=7), 16)
    assert facts.sources == ["b"]
    assert (facts.dataset, facts.target, facts.samples) == ("toy", "a", 16)
    assert (facts.split.by, facts.split.seed, facts.split.holdout) == ("file", 7, 0.2)
    assert facts.fingerprint == data.fingerprint
