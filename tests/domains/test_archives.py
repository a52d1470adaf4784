from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from domains.known_files import contents, write_tar, write_zip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeprune.domains.archives import is_archive, members
from edgeprune.errors import DataError

MADE = {"set.zip": write_zip, "set.tar": write_tar, "set.tar.gz": write_tar, "set.tgz": write_tar}


def everything(path: Path, **options: int) -> dict[str, bytes]:
    return {
        str(member.name): member.content
        for member in members(path, lambda name: name.suffix == ".jpg", **options)
        if "MACOSX" not in str(member.name)
    }


def zipped(path: Path, name: str, content: bytes = b"x", mode: int = 0o100644) -> Path:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, content)
    return path


def tarred(path: Path, name: str, kind: bytes = tarfile.REGTYPE) -> Path:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, "/etc/passwd"
    with tarfile.open(path, "w") as archive:
        archive.addfile(entry, io.BytesIO())
    return path


@pytest.mark.parametrize("name", MADE)
def test_files_come_out_as_they_went_in(tmp_path: Path, name: str) -> None:
    path = MADE[name](tmp_path / name, contents())
    assert is_archive(path)
    assert everything(path) == {f"kfold/{key}": data for key, data in contents().items()}


@pytest.mark.parametrize(
    "name", ["../photo/dog/1.jpg", "/photo/dog/1.jpg", "a/../../b.jpg", "..\\b.jpg", "C:\\b.jpg"]
)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    for path in (zipped(tmp_path / "a.zip", name), tarred(tmp_path / "a.tar", name)):
        with pytest.raises(DataError, match="leads out of the archive"):
            everything(path)


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    bad = [zipped(tmp_path / "a.zip", "photo/dog/1.jpg", b"/etc/passwd", 0o120777)]
    for index, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE)):
        bad.append(tarred(tmp_path / f"{index}.tar", "photo/dog/1.jpg", kind))
    for path in bad:
        with pytest.raises(DataError, match="is a link"):
            everything(path)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", "photo/dog/1.jpg", bytes(3 << 20))
    with pytest.raises(DataError, match=r"'photo/dog/1.jpg' has more than 2 MiB"):
        everything(path, largest_bytes=2 << 20)


def test_an_archive_that_swells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.domains.archives.ALLOWANCE_BYTES", 0)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(9):
            archive.writestr(f"photo/dog/{index}.jpg", bytes(1 << 20))
    with pytest.raises(DataError, match="past 20 times its size"):
        everything(path)


@pytest.mark.parametrize("name", MADE)
def test_an_archive_that_is_cut_short_is_named(tmp_path: Path, name: str) -> None:
    path = MADE[name](tmp_path / name, contents())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"damaged or cut short") as caught:
        everything(path)
    assert str(path) in str(caught.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(name=st.sampled_from(sorted(MADE)), where=st.floats(0, 1), byte=st.integers(0, 255))
def test_damage_is_a_data_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, name: str, where: float, byte: int
) -> None:
    path = MADE[name](tmp_path_factory.mktemp("fuzz") / name, contents())
    data = bytearray(path.read_bytes())
    data[int(where * (len(data) - 1))] = byte
    path.write_bytes(data)
    try:
        found = everything(path)
    except DataError:
        return
    assert len(found) <= len(contents())
