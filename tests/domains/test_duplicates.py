from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from recorded_progress import Recorded
from toy_domains import write_toy_domains

from edgeprune.domains import (
    Split,
    duplicates,
    leave_one_out,
    open_dataset,
    warn_of_duplicates,
)
from edgeprune.domains.duplicates import identical
from edgeprune.files import sha256
from edgeprune.progress import SILENT


def split(root: Path) -> Split:
    return leave_one_out(open_dataset(str(root)), "night", seed=0)


def warnings(root: Path) -> list[str]:
    said = Recorded()
    warn_of_duplicates(split(root), said)
    return said.lines


def test_images_of_the_target_in_training_and_validation(tmp_path: Path) -> None:
    root = write_toy_domains(tmp_path / "toys")
    assert warnings(root) == []
    before = split(root)
    held = before.validation["day"][0].path
    trained = [before.train["day"][0].path, before.train["dusk"][0].path]
    shutil.copyfile(held, root / "night" / "top" / "0.png")
    shutil.copyfile(held, root / "night" / "top" / "1.png")
    for index, path in enumerate(trained):
        shutil.copyfile(path, root / "night" / "plain" / f"{index}.png")
    (line,) = warnings(root)
    assert line.startswith("warning: 4 of 30 images of 'night' are in the source domains too")
    assert "(2 in training, 2 in validation)" in line
    pairs = [(root / "night" / "plain" / f"{i}.png", path) for i, path in enumerate(trained)]
    pairs.append((root / "night" / "top" / "0.png", held))
    examples = [f"such as {str(one)!r} and {str(other)!r}: they are" for one, other in pairs]
    assert sum(example in line for example in examples) == 1


def test_images_shared_by_sources_alone_are_no_matter(tmp_path: Path) -> None:
    root = write_toy_domains(tmp_path / "toys")
    shutil.copyfile(root / "day" / "top" / "0.png", root / "dusk" / "plain" / "0.png")
    shutil.copyfile(root / "night" / "top" / "0.png", root / "night" / "plain" / "0.png")
    assert warnings(root) == []


def test_only_files_of_a_size_that_two_domains_have_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "toys"
    for domain, sizes in (("a", (1, 2, 3)), ("b", (3, 4, 5))):
        for size in sizes:
            path = root / domain / f"class{size % 2}" / f"{size}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(size))
    read: list[Path] = []

    def recorded(path: Path) -> str:
        read.append(path)
        return sha256(path)

    monkeypatch.setattr(duplicates, "sha256", recorded)
    samples = open_dataset(str(root)).samples
    (found,) = identical(samples, SILENT)
    assert [sample.domain for sample in found] == ["a", "b"]
    assert sorted(path.name for path in read) == ["3.png", "3.png"]
    (root / "a" / "class1" / "3.png").unlink()  # whoever decodes it says what is wrong
    assert identical(samples, SILENT) == []
