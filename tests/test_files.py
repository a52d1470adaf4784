from __future__ import annotations

import errno
from pathlib import Path

import pytest

from edgeprune.errors import OutputError
from edgeprune.files import (
    check_apart,
    check_output_directory,
    output_directory,
    output_file,
    write_text,
)


def test_a_directory_appears_only_when_complete(tmp_path: Path) -> None:
    with output_directory(tmp_path / "out") as scratch:
        (scratch / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "a").read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError, SystemExit])
def test_nothing_is_left_of_a_directory_that_failed(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    def fail() -> None:
        with output_directory(tmp_path / "out") as scratch:
            (scratch / "a").write_text("1")
            raise failure

    with pytest.raises(failure):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_force_replaces_and_a_failure_keeps_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    with pytest.raises(OutputError, match="not empty") as caught:
        check_output_directory(out)
    assert caught.value.hint is not None
    assert "--force" in caught.value.hint
    with pytest.raises(ValueError), output_directory(out, force=True):  # noqa: PT011
        raise ValueError
    assert (out / "old").read_text() == "old"
    with output_directory(out, force=True) as scratch:
        (scratch / "new").write_text("new")
    assert [p.name for p in out.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is Linux's")
def test_a_place_where_nothing_can_be_made_is_named() -> None:
    with pytest.raises(OutputError, match="'/proc/x': nothing can be made in '/proc'"):
        write_text(Path("/proc/x"), "text")
    with (
        pytest.raises(OutputError, match="nothing can be made in '/proc'"),
        output_directory(Path("/proc/x")),
    ):
        pass


def test_a_full_disk_and_a_forbidden_place_are_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no space left"), output_file(tmp_path / "f.json"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OutputError, match="no permission"), output_file(tmp_path / "f.json"):
        raise OSError(errno.EROFS, "Read-only file system")
    with pytest.raises(OutputError, match="cannot be made"):
        write_text(Path("/proc/edgeprune/x.json"), "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="not a directory"):
        write_text(tmp_path / "file" / "x.json", "x")
    with pytest.raises(OutputError, match="is a file"):
        check_output_directory(tmp_path / "file")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_an_output_that_is_an_input_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text("a")
    (tmp_path / "link.json").symlink_to("a.json")
    for output in ("a.json", "./a.json", str(tmp_path / "a.json"), "link.json"):
        with pytest.raises(OutputError, match=f"{Path(output)}' is an input of the same command"):
            check_apart([Path(output)], ["b.json", Path("a.json")])
    for outputs in (["new", "./new"], ["a.json", "link.json"]):
        with pytest.raises(OutputError, match=f"'{Path(outputs[1])}' is named for two outputs"):
            check_apart([Path(name) for name in outputs], [])
    check_apart([Path("c.json"), Path("new")], ["a.json", "gone.json"])
