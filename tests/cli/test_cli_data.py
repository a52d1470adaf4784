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
        "vlcs",
        "office-home",
        "terra-incognita",
        "domainnet",
    ]
    assert by_name["office-home"]["hub"]["repo"] == "flwrlabs/office-home"
    assert "has never been run" in by_name["pacs"]["unverified"][0]
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


def test_inspect_names_what_a_known_data_set_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "mine"
    for domain in ("art_painting", "cartoon", "sketch"):
        for index, kind in enumerate(("dog", "elephant", "giraffe", "guitar", "horse", "house")):
            folder = root / domain / kind
            folder.mkdir(parents=True)
            Image.new("RGB", (3, 2), (index, len(domain), 9)).save(folder / "1.png")
    assert main(["data", "inspect", str(root), "--json"]) == 1
    captured = capsys.readouterr()
    comparison = json.loads(captured.out)["comparison"]
    assert comparison["known"] == "pacs"
    assert comparison["missing_domains"] == ["photo"]
    assert comparison["missing_classes"] == ["person"]
    assert comparison["images"]["sketch"] == {"known": 3929, "found": 6}
    assert comparison["total"] == {"known": 9991, "found": 18}
    assert "is not pacs as it is known: missing domain: 'photo'; missing class:" in captured.err
    assert "sketch: 6 images instead of 3,929 (3,923 missing)" in captured.err
    assert len(captured.err.splitlines()) == 1


def test_inspect_leaves_other_folders_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = fill(tmp_path / "toys", "ab")
    for old, new in (("a", "photo"), ("b", "sketch")):  # two domains of PACS, other classes
        (root / old).rename(root / new)
    assert main(["data", "inspect", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparison"] is None


def test_inspect_warns_of_images_that_stand_in_two_domains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "toys"
    for number, domain in enumerate("abc"):
        for kind in ("cat", "dog"):
            folder = root / domain / kind
            folder.mkdir(parents=True)
            for index in range(3):
                shade = (index, 0 if domain in "ab" and index else number + 1, len(kind), index)
                colour = (*shade[:3],) if kind == "cat" else (*shade[:2], 77)
                Image.new("RGB", (3, 2), colour).save(folder / f"{index}.png")
    assert main(["data", "inspect", str(root), "--json"]) == 0
    (shared,) = json.loads(capsys.readouterr().out)["duplicates"]
    assert (shared["domains"], shared["images"]) == (["a", "b"], 4)
    assert [Path(path).name for path in shared["example"]] == ["1.png", "1.png"]
    assert main(["data", "inspect", str(root)]) == 0
    assert "warning 4 images stand in a and b alike" in capsys.readouterr().out


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
    [("vlcs", 3, "VLCS.tar.gz from https"), ("office-hom", 2, "did you mean 'office-home'?")],
)
def test_prepare_what_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, code: int, message: str
) -> None:
    assert main(["data", "prepare", name, "-o", str(tmp_path / "out")]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_prepare_takes_files_brought_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    for domain in ("Caltech101", "LabelMe", "SUN09", "VOC2007"):
        for index, kind in enumerate(("bird", "car", "chair", "dog", "person")):
            folder = mine / domain / kind
            folder.mkdir(parents=True)
            Image.new("RGB", (3, 2), (index, len(domain), 9)).save(folder / "1.png")
    arguments = ["data", "prepare", "vlcs", "--from", str(mine), "-o", str(tmp_path / "VLCS")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: this is not VLCS as it is known: in all: 20 images instead of")
    assert len(error.splitlines()) == 2
    assert not (tmp_path / "VLCS").exists()
    assert main([*arguments, "--unchecked"]) == 0
    out = capsys.readouterr().out
    assert "wrote 20 images of 4 domains and 5 classes" in out
    assert "unchecked in all: 20 images instead of 10,729 (10,709 missing)" in out
    assert main([*arguments, "--unchecked"]) == 2
    assert "not empty" in capsys.readouterr().err
