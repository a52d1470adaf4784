from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from edgeprune.cli import main


def fill(root: Path, domains: str = "ab") -> Path:
    for domain in domains:
        for index, kind in enumerate(("cat", "dog")):
            folder = root / domain / kind
            folder.mkdir(parents=True)
            Image.new("RGB", (4 + index, 3)).save(folder / "1.png")
            Image.new("L", (10, 20)).save(folder / "2.png")
    return root


def test_list_needs_no_torch() -> None:
    code = (
        "import sys; from edgeprune.cli import main; code = main(['data', 'list', '--json'])\n"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    document = json.loads(run.stdout)
    assert document["schema"] == "edgeprune/data-list@1"
    by_name = {data["name"]: data for data in document["datasets"]}
    assert list(by_name) == [
        "emoji",
        "pacs",
        "office-home",
        "vlcs",
        "terra-incognita",
        "domainnet",
    ]
    assert by_name["pacs"]["domains"] == ["art_painting", "cartoon", "photo", "sketch"]
    assert (by_name["domainnet"]["classes"], by_name["domainnet"]["images"]) == (345, 586575)


@pytest.mark.parametrize("columns", ["80", "120"])
def test_list_table_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert "office-home" in out
    assert "15,588" in out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= int(columns)


def test_inspect_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = fill(tmp_path / "toys")
    (root / "a" / "cat" / "notes.txt").touch()
    assert main(["data", "inspect", str(root), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgeprune/data-inspect@1"
    assert document["images"] == 8
    assert document["domains"]["b"] == {"images": 4, "classes": {"cat": 2, "dog": 2}}
    assert document["width_px"] == {"min": 4, "median": 7.5, "max": 10}
    assert document["height_px"] == {"min": 3, "median": 11.5, "max": 20}
    assert document["modes"] == {"L": 4, "RGB": 4}
    assert document["unreadable"] == document["animated"] == []
    assert document["ignored"] == ["a/cat/notes.txt"]


def test_inspect_names_what_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = fill(tmp_path / "toys")
    text = root / "a" / "dog" / "text.png"
    text.write_text("hello")
    film = root / "b" / "cat" / "film.gif"
    frames = [Image.new("L", (4, 4), value) for value in (0, 255)]
    frames[0].save(film, save_all=True, append_images=frames[1:])
    assert main(["data", "inspect", str(root), "--json"]) == 1
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert [bad["path"] for bad in document["unreadable"]] == [str(text)]
    assert "not an image" in document["unreadable"][0]["reason"]
    assert document["animated"] == [
        {"path": str(film), "reason": "it has 2 frames; a still image was expected"}
    ]
    assert captured.err.startswith("error: 2 of 10 images cannot be used")
    assert main(["data", "inspect", str(root)]) == 1
    out = capsys.readouterr().out
    assert f"unreadable {text}: it is not an image" in out
    assert f"animated {film}: it has 2 frames" in out


def test_inspect_puts_many_classes_down_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    root = fill(tmp_path / "toys")
    for domain in "ab":
        for index in range(30):
            folder = root / domain / f"class{index:02d}"
            folder.mkdir()
            Image.new("L", (1, 1)).save(folder / "1.png")
    assert main(["data", "inspect", str(root)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["class29", "1", "1", "2"] in rows


@pytest.mark.parametrize(
    ("domains", "message"),
    [(None, "does not exist"), ("", "holds no images"), ("a", "only one domain")],
)
def test_inspect_bad_root(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], domains: str | None, message: str
) -> None:
    root = tmp_path / "toys"
    if domains is not None:
        root.mkdir()
        fill(root, domains)
    assert main(["data", "inspect", str(root)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert str(root) in captured.err
    assert captured.err.startswith("error: ")
    assert len(captured.err.splitlines()) <= 2
    assert captured.out == ""


def test_prepare_and_inspect_emoji(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "emoji"
    assert main(["data", "prepare", "emoji", "-o", str(root), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["schema"] == "edgeprune/data-prepare@1"
    assert (made["images"], len(made["domains"]), len(made["classes"])) == (5049, 7, 8)
    assert main(["data", "inspect", str(root), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["fingerprint"] == made["fingerprint"]
    assert (document["name"], document["modes"]) == ("emoji", {"RGB": 5049})
    assert main(["data", "prepare", "emoji", "-o", str(root)]) == 2
    assert "not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [("pacs", 3, "does not fetch"), ("office-hom", 2, "did you mean 'office-home'?")],
)
def test_prepare_what_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, code: int, message: str
) -> None:
    assert main(["data", "prepare", name, "-o", str(tmp_path / "out")]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
