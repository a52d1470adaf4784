"""Writing known data sets from files in the form in which they come."""

from __future__ import annotations

import errno
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from domains.known_files import (
    CLASSES,
    SMALL,
    Site,
    contents,
    files_of,
    image,
    rows,
    serving,
    write_parquet,
    write_tar,
    write_zip,
)
from pyarrow import parquet

from edgeprune.domains import open_dataset, prepare
from edgeprune.domains.known import terra_incognita
from edgeprune.domains.known.base import Archive, KnownData
from edgeprune.domains.registry import KNOWN
from edgeprune.errors import DataError, EdgepruneError, OutputError, UnavailableError, UsageError


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOWN, "pacs", SMALL)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as running:
        yield running


def known(monkeypatch: pytest.MonkeyPatch, **changes: object) -> KnownData:
    changed = SMALL.model_copy(update=changes)
    monkeypatch.setitem(KNOWN, "pacs", changed)
    return changed


def refused(source: Path, out: Path, message: str, kind: type[EdgepruneError] = DataError) -> str:
    """Check that nothing is written; return the hint."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(kind, match=message) as caught:
        prepare("pacs", out, source=source)
    assert sorted(out.parent.iterdir()) == before
    return str(caught.value.hint)


def test_parquet_becomes_folders(tmp_path: Path) -> None:
    found = rows(contents())
    write_parquet(tmp_path / "hub/data/train-00000-of-00002.parquet", found[:5])
    write_parquet(tmp_path / "hub/data/train-00001-of-00002.parquet", found[5:])
    made = prepare("pacs", tmp_path / "out", source=tmp_path / "hub")
    assert files_of(tmp_path / "out") == contents()
    assert (made.images, made.classes, made.differences) == (8, CLASSES, [])
    data = open_dataset(str(tmp_path / "out"))
    assert (data.name, data.default_split, data.fingerprint) == ("pacs", "file", made.fingerprint)


def test_rows_without_names_are_numbered_with_the_suffix_of_their_bytes(tmp_path: Path) -> None:
    found = {name: image(n, ".png" if n % 2 else ".jpg") for n, name in enumerate(contents())}
    file = write_parquet(tmp_path / "train-0.parquet", rows(found, with_paths=False))
    prepare("pacs", tmp_path / "out", source=file)
    written = files_of(tmp_path / "out")
    assert sorted(written.values()) == sorted(found.values())
    assert sorted(path.name for path in (tmp_path / "out/photo/dog").iterdir()) == [
        "000000.jpg",
        "000001.png",
    ]


def test_rows_that_share_a_name_are_all_kept(tmp_path: Path) -> None:
    found = rows(contents())
    for row in found:
        row["image"]["path"] = "image.jpg"
    prepare("pacs", tmp_path / "out", source=write_parquet(tmp_path / "train-0.parquet", found))
    assert sorted(files_of(tmp_path / "out").values()) == sorted(contents().values())


def test_domain_may_be_a_class_label_and_label_a_text(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "train-0.parquet", rows(contents()))
    table = parquet.read_table(file)
    meta = json.loads(table.schema.metadata[b"huggingface"])
    meta["info"]["features"]["domain"] = {"names": ["photo", "Art-Painting"], "_type": "ClassLabel"}
    domains = [int(value == "art_painting") for value in table["domain"].to_pylist()]
    labels = [CLASSES[value] for value in table["label"].to_pylist()]
    table = table.set_column(1, "domain", [domains]).set_column(2, "label", [labels])
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(meta)}), file)
    prepare("pacs", tmp_path / "out", source=file)
    assert files_of(tmp_path / "out") == contents()


@pytest.mark.parametrize("name", ["PACS.zip", "PACS.tar", "PACS.tar.gz"])
def test_archives_become_folders(tmp_path: Path, name: str) -> None:
    write = write_zip if name.endswith("zip") else write_tar
    prepare("pacs", tmp_path / "out", source=write(tmp_path / name, contents()))
    assert files_of(tmp_path / "out") == contents()


def test_a_folder_brought_by_hand_is_taken_with_other_spellings(tmp_path: Path) -> None:
    for name, data in contents().items():
        path = tmp_path / "mine" / "kfold" / name.replace("art_painting", "Art Painting")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "mine" / "README.md").write_text("hello")
    (tmp_path / "mine" / "kfold" / "photo" / "dog" / "._pic.jpg").write_text("junk")
    prepare("pacs", tmp_path / "out", source=tmp_path / "mine")
    assert files_of(tmp_path / "out") == contents()


def test_two_archives_are_one_data_set(tmp_path: Path) -> None:
    for domain in SMALL.domains:
        part = {name: data for name, data in contents().items() if name.startswith(domain)}
        write_zip(tmp_path / f"{domain}.zip", part, top="")
    prepare("pacs", tmp_path / "out", source=tmp_path)
    assert files_of(tmp_path / "out") == contents()


def test_what_is_missing_and_surplus_is_named_and_nothing_written(tmp_path: Path) -> None:
    found = contents()
    del found["photo/dog/pic_001.jpg"]
    found["photo/cow/pic_009.jpg"] = found["art_painting/cow/pic_009.jpg"] = image(9)
    path = write_zip(tmp_path / "mine.zip", found)
    message = (
        "not PACS as it is known: surplus class: 'cow'; 3 classes instead of 2;"
        " art_painting: 5 images instead of 4"
    )
    assert "--unchecked" in refused(path, tmp_path / "out", message)
    made = prepare("pacs", tmp_path / "out", source=path, unchecked=True)
    assert made.images == 9
    assert made.differences[-1] == "in all: 9 images instead of 8 (1 surplus)"
    assert made.classes == ["cow", "dog", "horse"]


def test_a_class_that_one_domain_lacks_is_named(tmp_path: Path) -> None:
    found = {name: data for name, data in contents().items() if "photo/horse" not in name}
    path = write_zip(tmp_path / "mine.zip", found)
    with pytest.raises(DataError, match="domain 'photo' has no image of class 'horse'") as caught:
        prepare("pacs", tmp_path / "out", source=path, unchecked=True)
    assert str(tmp_path / "out") in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_wrong_checksum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Archive(file="PACS.zip", page="https://example.org", md5="0" * 32)
    known(monkeypatch, archives=(wrong,))
    path = write_zip(tmp_path / "PACS.zip", contents())
    refused(path, tmp_path / "out", r"PACS\.zip' has the MD5 [0-9a-f]{32}; 0{32} was expected")
    assert path.exists()
    prepare("pacs", tmp_path / "out", source=path, unchecked=True)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a" / "train-0.parquet", rows(contents()))
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    refused(file, tmp_path / "out", r"train-0\.parquet' is damaged or cut short")
    path = write_zip(tmp_path / "b.zip", contents())
    path.write_bytes(path.read_bytes()[:-40])
    refused(path, tmp_path / "out", "damaged or cut short")


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    bad = contents() | {"photo/dog/pic_002.jpg": b"<html>not found</html>"}
    refused(write_zip(tmp_path / "a.zip", bad), tmp_path / "out", "pic_002.jpg is no image")
    empty = rows(contents())
    empty[3]["image"]["bytes"] = None
    file = write_parquet(tmp_path / "a.parquet", empty)
    refused(file, tmp_path / "out", "row 3: the image is empty")


@pytest.mark.parametrize("domain", ["../photo", "photo/../../x", ".hidden", "", "a\\b"])
def test_a_name_in_parquet_cannot_leave_the_folder(tmp_path: Path, domain: str) -> None:
    evil = rows(contents())
    evil[2]["domain"] = domain
    file = write_parquet(tmp_path / "a.parquet", evil)
    refused(file, tmp_path / "out", "cannot be the name of a file or folder")
    assert not (tmp_path.parent / "photo").exists()


def test_another_file_of_parquet_is_refused_by_its_columns(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", rows(contents()))
    parquet.write_table(parquet.read_table(file).drop_columns(["domain"]), file)
    hint = refused(file, tmp_path / "out", "no column 'domain'; it has image, label")
    assert hint == "expected: image, domain, label"


def test_a_label_without_a_name_is_refused(tmp_path: Path) -> None:
    wrong = rows(contents())
    wrong[1]["label"] = 7
    file = write_parquet(tmp_path / "a.parquet", wrong)
    refused(file, tmp_path / "out", "row 1: 7 is no name")


def test_a_source_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none", tmp_path / "out", "does not exist")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", tmp_path / "out", "holds nothing of PACS")
    (tmp_path / "a.rar").touch()
    refused(tmp_path / "a.rar", tmp_path / "out", "neither parquet nor an archive")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("cats/1.jpg", image(1))
    refused(tmp_path / "other.zip", tmp_path / "out", "holds no DOMAIN/CLASS/IMAGE of PACS")


def test_a_full_disk_and_an_interruption_leave_nothing(tmp_path: Path) -> None:
    class Failing:
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def track(self, items, description, total, start=0):
            yield next(iter(items))
            raise self.error

        def say(self, message):
            pass

    path = write_zip(tmp_path / "a.zip", contents())
    full = OSError(errno.ENOSPC, "No space left on device")
    for error, raised in ((full, OutputError), (KeyboardInterrupt(), KeyboardInterrupt)):
        with pytest.raises(raised):
            prepare("pacs", tmp_path / "out", source=path, progress=Failing(error))
        assert list(tmp_path.iterdir()) == [path]


def test_an_output_that_is_not_empty_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    refused(tmp_path / "none", tmp_path / "out", "not empty", OutputError)
    path = write_zip(tmp_path / "a.zip", contents())
    prepare("pacs", tmp_path / "out", source=path, force=True)
    assert files_of(tmp_path / "out") == contents()


def test_parquet_without_pyarrow_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_parquet(tmp_path / "a.parquet", rows(contents()))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    hint = refused(file, tmp_path / "out", "'pyarrow', which is not installed", UnavailableError)
    assert hint == "pip install 'edgeprune[hub]'"


def test_authors_archives_are_fetched_and_cleared_away(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["PACS.zip"] = write_zip(tmp_path / "served.zip", contents()).read_bytes()
    site.break_after = [100, 100, 100]
    archive = Archive(file="PACS.zip", page="https://example.org", url=f"{site.url}/PACS.zip")
    known(monkeypatch, hub=None, archives=(archive,))
    with pytest.raises(UnavailableError, match="broke off") as caught:
        prepare("pacs", tmp_path / "out")
    assert caught.value.hint == "run it again: it goes on where it stopped"
    assert not (tmp_path / "out").exists()
    prepare("pacs", tmp_path / "out")
    assert site.ranges[-1] == "bytes=300-"
    assert files_of(tmp_path / "out") == contents()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "served.zip"]


def test_without_a_network_the_hint_says_how_to_bring_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(
        file="PACS.zip", page="https://example.org", url="http://127.0.0.1:1/PACS.zip"
    )
    known(monkeypatch, hub=None, archives=(archive,))
    with pytest.raises(UnavailableError, match=r"cannot fetch http://127\.0\.0\.1:1") as caught:
        prepare("pacs", tmp_path / "out")
    assert caught.value.hint == (
        "by hand: put PACS.zip from https://example.org into one folder, then"
        " edgeprune data prepare pacs --from FOLDER -o ROOT"
    )


def test_what_only_a_person_can_fetch(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="VLCS cannot be fetched") as caught:
        prepare("vlcs", tmp_path / "out")
    assert "VLCS.tar.gz from https://drive.google.com" in str(caught.value.hint)
    with pytest.raises(UsageError, match="installed packages"):
        prepare("emoji", tmp_path / "out", source=tmp_path)


def test_terra_incognita_is_sorted_by_its_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = ["38", "38", "43", "43", "100", "46", "7"]
    kinds = ["bird", "cat", "bird", "cat", "bird", "badger", "cat"]
    names = [f"{number}.jpg" for number in range(7)]
    categories = sorted({*kinds})
    labels = {
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories)],
        "images": [{"id": f"i{i}", "file_name": names[i], "location": places[i]} for i in range(7)],
        "annotations": [
            {"image_id": f"i{i}", "category_id": categories.index(kinds[i])} for i in range(7)
        ]
        # A second animal in one picture, and the same one twice.
        + [{"image_id": "i4", "category_id": categories.index("cat")}] * 2,
    }
    with zipfile.ZipFile(tmp_path / terra_incognita.ANNOTATIONS, "w") as archive:
        archive.writestr("caltech_images_20210113.json", json.dumps(labels))
    found = {name: image(number) for number, name in enumerate(names)}
    write_tar(tmp_path / terra_incognita.IMAGES, found, top="eccv_18_all_images_sm/")
    facts = terra_incognita.DATASET
    locations = ["location_100", "location_38", "location_43"]
    changes = {"domains": locations, "classes": 2, "class_names": ["bird", "cat"], "images": 6}
    monkeypatch.setitem(KNOWN, facts.name, facts.model_copy(update=changes))
    made = prepare(facts.name, tmp_path / "out", source=tmp_path)
    assert made.domains == locations
    assert files_of(tmp_path / "out") == {
        "location_38/bird/0.jpg": image(0),
        "location_38/cat/1.jpg": image(1),
        "location_43/bird/2.jpg": image(2),
        "location_43/cat/3.jpg": image(3),
        "location_100/bird/4.jpg": image(4),
        "location_100/cat/4.jpg": image(4),
    }
    with zipfile.ZipFile(tmp_path / terra_incognita.ANNOTATIONS, "w") as archive:
        archive.writestr("labels.json", "{}")
    with pytest.raises(DataError, match=r"labels\.json' is not in COCO's form"):
        prepare(facts.name, tmp_path / "again", source=tmp_path)
