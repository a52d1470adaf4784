from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from toy_domains import SIZE, write_toy_domains

from edgeprune.cli import main

VIT = ["vit_tiny_patch16_224", "--no-pretrained", "--img-size", str(SIZE), "--num-classes", "3"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_domains(tmp_path_factory.mktemp("data") / "halves", per_class=4)


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A plan of every dimension and of whole blocks."""
    path = tmp_path / "plan.json"
    dims = ["--dims", "embed,heads,head_dim,mlp,blocks", "--metric", "l2"]
    assert (
        main(["prune", *VIT, "--ratio", "0.3", *dims, "--dry-run", "--save-plan", str(path)]) == 0
    )
    capsys.readouterr()
    return path


def _edit(path: Path, name: str, dim: str, /, **facts: Any) -> None:
    plan = json.loads(path.read_text())
    (layer,) = [x for x in plan["layers"] if (x["name"], x["dim"]) == (name, dim)]
    layer.update(facts)
    path.write_text(json.dumps(plan))


def _error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["prune", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = [x for x in captured.err.splitlines() if x.startswith("error: ")]
    return line


def test_a_saved_plan_gives_the_same_tensors(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prune", *VIT, "--plan", str(plan), "-o", str(tmp_path / "planned")]) == 0
    dims = ["--dims", "embed,heads,head_dim,mlp,blocks", "--metric", "l2", "--ratio", "0.3"]
    assert main(["prune", *VIT, *dims, "-o", str(tmp_path / "direct")]) == 0
    capsys.readouterr()
    planned = load_file(tmp_path / "planned" / "model.safetensors")
    direct = load_file(tmp_path / "direct" / "model.safetensors")
    assert planned.keys() == direct.keys()
    assert all(planned[name].equal(direct[name]) for name in direct)


def test_an_edited_plan_is_what_comes_out(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = json.loads(plan.read_text())["layers"]
    kept = [x["name"] for x in layers if x["dim"] == "blocks" and x["after"]]
    first, second = kept[:2]
    _edit(plan, f"{first}.mlp", "mlp", after=24)
    _edit(plan, second, "blocks", after=0)
    again = tmp_path / "again.json"
    command = ["prune", *VIT, "--plan", str(plan), "-o", str(tmp_path / "out"), "--json"]
    assert main([*command, "--save-plan", str(again)]) == 0
    result = json.loads(capsys.readouterr().out)
    after = {(x["name"], x["dim"]): x["after"] for x in result["layers"]}
    assert after[f"{first}.mlp", "mlp"] == 24
    assert after[second, "blocks"] == 0
    assert not [name for name, _ in after if name.startswith(f"{second}.")]
    assert result["metric"] == "l2"
    made = json.loads((tmp_path / "out" / "edgeprune.json").read_text())["made"]
    assert made[0]["options"]["planned"] is True
    assert json.loads(again.read_text())["layers"] == result["layers"]


@pytest.mark.parametrize(
    ("name", "dim", "facts", "message"),
    [
        ("embed", "embed", {"name": "embedd"}, "names layer 'embedd' with dimension 'embed'"),
        ("embed", "embed", {"after": 193}, "193 is not accepted; at most 192"),
        ("embed", "embed", {"after": 7}, "7 is not accepted; at least 8"),
        ("embed", "embed", {"after": -8}, "greater than or equal to 0"),
        ("embed", "embed", {"after": 64.5}, "valid integer"),
        ("embed", "embed", {"after": "64"}, "valid integer"),
        ("embed", "embed", {"before": 384}, "the plan says 384 before, the model has 192"),
        ("embed", "embed", {"wide": True}, "wide"),
    ],
)
def test_bad_edits_are_named(
    name: str,
    dim: str,
    facts: dict[str, Any],
    message: str,
    plan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _edit(plan, name, dim, **facts)
    output = tmp_path / "out"
    assert message in _error(capsys, *VIT, "--plan", str(plan), "-o", str(output))
    assert not output.exists()


def test_bad_plans_are_named(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--plan", str(plan), "--dry-run"]
    other = [*VIT[:-1], "5"]
    assert "with 3 classes at 32 px; the model is" in _error(capsys, *other, *run)
    document = json.loads(plan.read_text())
    no_blocks = [{**x, "after": 0} if x["dim"] == "blocks" else x for x in document["layers"]]
    plan.write_text(json.dumps({**document, "layers": no_blocks}))
    assert "drops every block of 'blocks'" in _error(capsys, *VIT, *run)
    plan.write_text(json.dumps({**document, "schema": "edgeprune/plan@2"}))
    assert main(["prune", *VIT, *run]) == 2
    assert "newer edgeprune" in capsys.readouterr().err
    plan.write_text('{"schema": ')
    assert "is not valid JSON" in _error(capsys, *VIT, *run)
    plan.unlink()
    assert "does not exist" in _error(capsys, *VIT, *run)


@pytest.mark.parametrize(
    "option",
    [("--ratio", "0.5"), ("--budget", "macs"), ("--dims", "mlp"), ("--scope", "local")],
)
def test_a_plan_and_what_it_decides_contradict_each_other(
    option: tuple[str, str], plan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = _error(capsys, *VIT, "--plan", str(plan), "--dry-run", *option)
    assert f"{option[0]} and --plan contradict each other" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cost", "watts"], "unknown cost 'watts'"),
        (["--recover-steps", "5"], "recover-steps 5 trains between rounds"),
        (["--recover-steps", "-1"], "recover-steps -1"),
        (["--recover-steps", "5", "--steps", "2"], "--recover-steps needs training images"),
        (["--threads", "0"], "threads 0"),
        (["--ratio", "nan"], "ratio nan"),
        (["--budget", "latency", "--profile", "toaster"], "unknown device 'toaster'"),
        (["--profile", "generic-cpu"], "for a latency budget"),
        (["--budget", "macs", "--ratio", "0.9", "--dims", "mlp"], "least reachable"),
        (["--budget", "params", "--ratio", "0.999"], "least reachable"),
        (["--budget", "macs", "--max-ratio", "0.01"], "least reachable, 27,247,680 of 27,247,680"),
        (["--budget", "latency", "--threads", "999"], "threads 999"),
        (["--max-ratio", "0"], "max ratio 0"),
        (["--max-ratio", "nan"], "max ratio nan"),
        (["--round-to", "0"], "round-to 0"),
        (["--steps", "0"], "steps 0"),
        (["--dims", ""], "no dimension to prune"),
        (["--dims", "embed;mlp"], "unknown dimension 'embed;mlp'"),
        (["--metric", ""], "unknown metric ''"),
        (["--metric", "taylor"], "'taylor' needs calibration images"),
        (["--metric", "hessian", "--samples", "9"], "--samples is about calibration images"),
        (["--split", "file"], "--split is about calibration images"),
        (["--seed", "4294967296"], "4294967296"),
        (["--img-size", "15"], "image size 15"),
        (["--weights", "."], "'.' is a directory"),
        (["--save-plan", "."], "'.' is a directory"),
        (["--plan", "."], "'.' is a directory"),
    ],
)
def test_bad_options_are_named(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in _error(capsys, *VIT, "--dry-run", *options)


@pytest.mark.parametrize("budget", ["params", "macs"])
def test_the_least_that_is_reachable_can_be_reached(
    budget: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = [*VIT, "--dry-run", "--budget", budget, "--dims", "mlp,heads", "--ratio"]
    error = _error(capsys, *run, "0.99")
    (highest,) = re.findall(r"\(--ratio (.*)\)", error)
    assert main(["prune", *run, highest]) == 0


@pytest.mark.parametrize(
    ("options", "note"),
    [
        (["--ratio", "0.999"], "heads: 33.3% of the width stays, 0.1% was asked"),
        (["--round-to", "1000"], "mlp: 100.0% of the width stays, 50.0% was asked"),
        (["--max-ratio", "0.01"], "embed: 100.0% of the width stays, 50.0% was asked"),
        (["--dims", "blocks", "--ratio", "0.999"], "blocks: 8.3% of them stay, 0.1% was asked"),
    ],
)
def test_a_share_that_cannot_be_had_is_said(
    options: list[str], note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prune", *VIT, "--dry-run", "--json", *options]) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert [text for text in warnings if text.startswith(note)]


def test_odd_but_sound_options_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """Patches need not fill an image; a dimension may be named twice."""
    options = ["--img-size", "45", "--dims", " mlp,mlp ,", "--ratio", "0.0001"]
    assert main(["prune", *VIT, "--dry-run", "--json", *options]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["dims"] == ["mlp"]
    assert result["pruned"] == result["dense"]


def test_another_device_is_not_available(capsys: pytest.CaptureFixture[str]) -> None:
    latency = ["--budget", "latency", "--profile", "jetson-orin-nano", "--dry-run"]
    assert main(["prune", *VIT, *latency]) == 3
    assert "on the device itself" in capsys.readouterr().err


def test_rounds_with_recovery_repeat(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(root), "--target", "night", "--samples", "6", "--metric", "l1"]
    rounds = ["--steps", "2", "--recover-steps", "2", "--no-reconstruct", "--seed", "3"]
    for name in ("one", "two"):
        assert main(["prune", *VIT, *data, *rounds, "-o", str(tmp_path / name)]) == 0
    plain = [*rounds[:2], *rounds[4:]]
    assert main(["prune", *VIT, *data, *plain, "-o", str(tmp_path / "plain")]) == 0
    capsys.readouterr()
    one, two, untrained = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two", "plain")
    )
    assert one == two
    assert one != untrained
    record = json.loads((tmp_path / "one" / "edgeprune.json").read_text())
    assert record["made"][0]["options"]["recover_steps"] == 2


def test_the_table_counts_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", *VIT, "--dry-run", "--dims", "blocks", "--ratio", "0.25"]) == 0
    out = capsys.readouterr().out
    (row,) = [line for line in out.splitlines() if "blocks" in line and "12" in line]
    assert "9" in row
    assert "no artifact written" in out
