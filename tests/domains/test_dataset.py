from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from edgeprune.domains import open_dataset
from edgeprune.errors import DataError


def fill(root: Path, names: list[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(path, "png")
    return root


GOOD = ["b/dog/2.png", "b/dog/1.JPG", "b/cat/1.png", "a/cat/x.png", "a/dog/x.webp"]


def test_folders_become_sorted_domains_and_classes(tmp_path: Path) -> None:
    fill(tmp_path, [*GOOD, "a/dog/.hidden.png", ".git/cat/1.png"])
    (tmp_path / "README.md").touch()
    (tmp_path / "a" / "dog" / "notes.txt").touch()
    data = open_dataset(str(tmp_path))
    assert data.domains == ("a", "b")
    assert data.classes == ("cat", "dog")
    assert data.name == tmp_path.name
    assert data.default_split == "file"
    found = [(s.domain, s.label, s.path.name, s.group) for s in data.samples]
    assert found == [
        ("a", 0, "x.png", "x"),
        ("a", 1, "x.webp", "x"),
        ("b", 0, "1.png", "1"),
        ("b", 1, "1.JPG", "1"),
        ("b", 1, "2.png", "2"),
    ]
    assert data.of("b") == data.samples[2:]


def test_fingerprint_follows_names_and_sizes(tmp_path: Path) -> None:
    fill(tmp_path / "one", GOOD)
    fill(tmp_path / "two", GOOD)
    before = open_dataset(str(tmp_path / "one")).fingerprint
    assert open_dataset(str(tmp_path / "two")).fingerprint == before
    (tmp_path / "two" / "a" / "cat" / "x.png").write_bytes(b"longer" * 99)
    grown = open_dataset(str(tmp_path / "two")).fingerprint
    fill(tmp_path / "one", ["a/cat/y.png"])
    assert len({before, grown, open_dataset(str(tmp_path / "one")).fingerprint}) == 3


def test_record_gives_name_groups_and_split(tmp_path: Path) -> None:
    fill(tmp_path, GOOD)
    record = {"schema": "edgeprune/data@1", "name": "toys", "source": "here", "groups": {"2": "1"}}
    (tmp_path / "edgeprune-data.json").write_text(json.dumps(record))
    data = open_dataset(str(tmp_path))
    assert (data.name, data.default_split) == ("toys", "group")
    assert [sample.group for sample in data.of("b")] == ["1", "1", "1"]


@pytest.mark.parametrize(
    "text", ["{", '{"schema": "edgeprune/data@2"}', '{"schema": "edgeprune/data@1", "name": 3}']
)
def test_damaged_record(tmp_path: Path, text: str) -> None:
    fill(tmp_path, GOOD)
    (tmp_path / "edgeprune-data.json").write_text(text)
    with pytest.raises(DataError, match=r"edgeprune-data\.json"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no images"),
        (["a/notes"], "holds no images"),
        (["a/cat/1.png", "a/dog/1.png"], "only one domain, 'a'"),
        ([*GOOD, "b/cow/1.png"], "domain 'a' has no image of class 'cow', which 'b' has"),
        ([*GOOD, "c/cow/1.png"], "missing too: a/cow, b/cow, c/dog$"),
        ([*GOOD, *(f"c/{n}/1.png" for n in range(4))], r"missing too: .+ and [0-9]+ more$"),
        (["a/cat/1.png", "b/cat/1.png"], "only one class, 'cat'"),
    ],
)
def test_bad_folder(tmp_path: Path, names: list[str], message: str) -> None:
    fill(tmp_path, names)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(str(tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_empty_class_folder(tmp_path: Path) -> None:
    fill(tmp_path, GOOD)
    (tmp_path / "a" / "cow").mkdir()
    (tmp_path / "b" / "cow").mkdir()
    with pytest.raises(DataError, match="no image of class 'cow'"):
        open_dataset(str(tmp_path))


def test_missing_root_and_file_as_root(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_dataset(str(tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file"):
        open_dataset(str(tmp_path / "file"))
