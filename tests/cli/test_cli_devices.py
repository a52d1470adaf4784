"""``edgeprune devices`` and ``edgeprune doctor`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeprune import doctor as doctor_module
from edgeprune.cli import main
from edgeprune.devices import profile_names
from edgeprune.probes import Probe


def test_list_names_every_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in profile_names():
        assert any(name in line.split() for line in lines)
    assert max(map(len, lines)) <= 80


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgeprune/devices-list@1"
    assert [profile["name"] for profile in document["profiles"]] == profile_names()


def test_show_gives_each_figure_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "show", "jetson-orin-nx-8gb"]) == 0
    shown = capsys.readouterr().out
    assert "gpu_clock_mhz" in shown
    assert "unverified: datasheet" in shown
    assert main(["devices", "show", "jetson-orin-nx-8gb", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgeprune/devices-show@1"
    assert document["profile"]["gpu_clock_mhz"] == 765


def test_text_of_a_profile_is_shown_and_not_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my-board.toml"
    text = (
        'name = "my-board"\ntitle = "[red]x[/nope]"\nkind = "cpu"\nnotes = "[bold]loud[/]"\n'
        'cpu = "[b]it[/x]"\n[[source]]\ntext = "[i]page[/y]"\nverified = true\nof = ["cpu"]\n'
    )
    path.write_text(text)
    assert main(["devices", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    for word in ("my-board: [red]x[/nope]", "[bold]loud[/]", "[b]it[/x]", "1  [i]page[/y]"):
        assert word in shown
    path.write_text(text.replace("[red]x", "\\u001b[31mx"))
    assert main(["devices", "show", str(path)]) == 2
    said = capsys.readouterr().err
    assert "title: control characters are not accepted (found '\\x1b[31mx" in said


def test_show_of_an_unknown_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "show", "jetson-orin-nao"]) == 2
    said = capsys.readouterr()
    error, hint = said.err.splitlines()
    assert error.startswith("error: unknown device 'jetson-orin-nao'; accepted: a100")
    assert hint == "hint: did you mean 'jetson-orin-nano'?"
    assert said.out == ""


def test_detect(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "detect", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgeprune/devices-detect@1"
    assert document["profile"] in profile_names()
    assert main(["devices", "detect"]) == 0
    assert document["profile"] in capsys.readouterr().out


def answer(monkeypatch: pytest.MonkeyPatch, **status: str) -> None:
    def answers(names: list[str]) -> list[Probe]:
        return [Probe(name, status.get(name.replace("-", "_"), "ok"), "why") for name in names]

    monkeypatch.setattr(doctor_module, "run_probes", answers)


def test_doctor_is_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, tensorrt_rtx="missing")
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == "Ready."
    assert "For tensorrt-rtx:\n  pip install 'edgeprune[tensorrt]'\n" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_doctor_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, torch_cpu="broken")
    assert main(["doctor", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgeprune/doctor@1"
    assert document["ready"] is False
    assert {"name": "torch-cpu", "status": "broken"}.items() <= next(
        check for check in document["checks"] if check["name"] == "torch-cpu"
    ).items()


def test_doctor_really_tries(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    said = capsys.readouterr()
    document = json.loads(said.out)
    checks = {check["name"]: check for check in document["checks"]}
    assert checks["onnxruntime-cpu"]["found"] == "ran a 3-node model"
    assert checks["torch-cpu"]["found"] == "multiplied matrices"
    assert (code == 0) is document["ready"]
