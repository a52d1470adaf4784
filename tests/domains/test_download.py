from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from domains.known_files import Site, serving

from edgeprune.domains.download import download
from edgeprune.errors import DataError, OutputError, UnavailableError

DATA = bytes(range(256)) * 9000  # more than two chunks
MD5 = hashlib.md5(DATA).hexdigest()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as running:
        running.files["set.zip"] = DATA
        yield running


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_once(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "downloads" / "set.zip"
    for _ in range(2):
        download(f"{site.url}/set.zip", path, md5=MD5)
    assert path.read_bytes() == DATA
    assert names(path.parent) == ["set.zip"]
    assert site.ranges == [None]


def test_a_broken_connection_is_taken_up_where_it_ended(site: Site, tmp_path: Path) -> None:
    site.break_after = [1_500_000, 100_000]
    download(f"{site.url}/set.zip", tmp_path / "set.zip", md5=MD5)
    assert (tmp_path / "set.zip").read_bytes() == DATA
    assert site.ranges == [None, "bytes=1500000-", "bytes=1600000-"]


def test_an_interrupted_download_goes_on_in_the_next_run(site: Site, tmp_path: Path) -> None:
    class Stop:
        def track(self, items, description, total, start=0):
            yield next(iter(items))
            raise KeyboardInterrupt

        def say(self, message):
            pass

    with pytest.raises(KeyboardInterrupt):
        download(f"{site.url}/set.zip", tmp_path / "set.zip", md5=MD5, progress=Stop())
    assert names(tmp_path) == ["set.zip.part", "set.zip.part.etag"]
    have = (tmp_path / "set.zip.part").stat().st_size
    assert 0 < have < len(DATA)
    download(f"{site.url}/set.zip", tmp_path / "set.zip", md5=MD5)
    assert (tmp_path / "set.zip").read_bytes() == DATA
    assert site.ranges == [None, f"bytes={have}-"]


def test_another_version_on_the_server_is_not_appended(site: Site, tmp_path: Path) -> None:
    site.break_after = [10, 10, 10]
    with pytest.raises(UnavailableError, match="broke off 3 times: 30 of 2,304,000 bytes"):
        download(f"{site.url}/set.zip", tmp_path / "set.zip")
    site.files["set.zip"], site.etag = DATA[::-1], '"two"'
    download(f"{site.url}/set.zip", tmp_path / "set.zip")
    assert (tmp_path / "set.zip").read_bytes() == DATA[::-1]


def test_a_part_that_is_longer_than_the_file_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(DATA + b"more")
    (tmp_path / "set.zip.part.etag").write_text(site.etag)
    download(f"{site.url}/set.zip", tmp_path / "set.zip", md5=MD5)
    assert site.ranges == ["bytes=2304004-", None]


def test_a_wrong_checksum_leaves_nothing_that_would_be_resumed(site: Site, tmp_path: Path) -> None:
    site.files["set.zip"] = DATA[:-1] + b"!"
    with pytest.raises(DataError, match=f"{MD5} was expected") as caught:
        download(f"{site.url}/set.zip", tmp_path / "set.zip", md5=MD5)
    assert str(tmp_path / "set.zip") in str(caught.value)
    assert names(tmp_path) == []


def test_what_cannot_be_fetched_is_named(site: Site, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="404") as caught:
        download(f"{site.url}/none.zip", tmp_path / "none.zip")
    assert caught.value.exit_code == 3
    with pytest.raises(UnavailableError, match=r"cannot fetch http://127\.0\.0\.1:1/set\.zip"):
        download("http://127.0.0.1:1/set.zip", tmp_path / "set.zip")
    assert names(tmp_path) == []


def test_a_full_disk_is_said_and_the_part_kept(site: Site, tmp_path: Path) -> None:
    class Full:
        def track(self, items, description, total, start=0):
            yield next(iter(items))
            raise OSError(errno.ENOSPC, "No space left on device")

        def say(self, message):
            pass

    with pytest.raises(OutputError, match="no space left"):
        download(f"{site.url}/set.zip", tmp_path / "set.zip", progress=Full())
    assert not (tmp_path / "set.zip").exists()
