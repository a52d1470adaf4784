"""``--metric`` on the command line: every metric from images to an artifact, and bad input."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from toy_domains import MODEL, SIZE, write_toy_domains

from edgeprune.cli import main
from edgeprune.pruning import metric_names
from edgeprune.pruning.metrics import get_metric

VIT = [MODEL, "--no-pretrained", "--img-size", str(SIZE), "--num-classes", "3"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_domains(tmp_path_factory.mktemp("data") / "halves", per_class=4)


def _data(root: Path, samples: int = 6) -> list[str]:
    return ["--data", str(root), "--target", "night", "--samples", str(samples)]


@pytest.mark.parametrize("metric", metric_names())
def test_every_metric_prunes(
    metric: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _data(root) if get_metric(metric).needs_data else []
    command = ["prune", *VIT, *data, "--no-reconstruct", "--metric", metric, "--json"]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["metric"] == metric
    assert result["pruned"]["macs"] < 0.3 * result["dense"]["macs"]
    assert result["warnings"] == []
    made = json.loads((tmp_path / "out" / "edgeprune.json").read_text())["made"]
    assert made[0]["options"]["metric"] == metric


@pytest.mark.parametrize("metric", ["fpgm", "dg_mean_std"])
def test_the_same_seed_gives_the_same_bytes(
    metric: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["prune", *VIT, *_data(root), "--metric", metric, "--seed", "3"]
    for name in ("one", "two"):
        assert main([*command, "-o", str(tmp_path / name)]) == 0
    capsys.readouterr()
    for file in ("model.safetensors", "edgeprune.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_dg_lambda_is_taken_and_written_down(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["prune", *VIT, *_data(root), "--no-reconstruct", "--metric", "dg_mean_std"]
    weights = {}
    for given in (None, "1", "3"):
        option = [] if given is None else ["--dg-lambda", given]
        assert main([*command, *option, "-o", str(tmp_path / str(given))]) == 0
        weights[given] = (tmp_path / str(given) / "model.safetensors").read_bytes()
    capsys.readouterr()
    assert weights[None] == weights["1"]
    assert weights["3"] != weights["1"]
    record = json.loads((tmp_path / "3" / "edgeprune.json").read_text())
    assert record["made"][0]["options"]["dg_lambda"] == 3


def test_help_names_every_metric(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "--help"]) == 0
    shown = capsys.readouterr().out
    text = shown[shown.index("--metric") : shown.index("--dg-lambda")]
    assert set(metric_names()) <= set(re.findall(r"\w+", text))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "dg_min"], "without a calibration image: 'dusk'; metric 'dg_min'"),
        (["--metric", "dg_mean_std", "--dg-lambda", "-1"], "dg-lambda -1 is not accepted"),
        (["--metric", "dg_mean_std", "--dg-lambda", "nan"], "dg-lambda nan is not accepted"),
        (["--metric", "dg_mean_std", "--dg-lambda", "much"], "'much' should be a valid number"),
        (["--dg-lambda", "1"], "dg-lambda 1 is for metric dg_mean_std; metric 'hessian'"),
    ],
)
def test_bad_options_are_named(
    options: list[str], message: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prune", *VIT, *_data(root, samples=1), *options, "--dry-run"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = [x for x in captured.err.splitlines() if x.startswith("error: ")]
    assert message in line
    if "dg_min" in options:
        assert "--samples 2 or more" in line


def test_a_missing_domain_is_a_warning_elsewhere(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prune", *VIT, *_data(root, samples=1), "--dry-run", "--json"]) == 0
    (note,) = json.loads(capsys.readouterr().out)["warnings"]
    assert "'dusk'" in note
    assert "--samples 2" in note


def test_one_source_domain_cannot_be_compared(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(root, tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "dusk")
    command = ["prune", *VIT, *_data(tmp_path / "two"), "--dry-run", "--metric"]
    assert main([*command, "dg_rank"]) == 2
    said = capsys.readouterr().err
    assert "error: metric 'dg_rank' compares source domains, and there is one, 'day'" in said
    assert "hint: with one source domain: --metric hessian" in said
    assert main([*command, "hessian"]) == 0


def test_a_domain_without_training_images_is_named(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(root, tmp_path / "hollow")
    for image in (tmp_path / "hollow" / "dusk").rglob("*.png"):
        image.unlink()
    command = ["prune", *VIT, *_data(tmp_path / "hollow"), "--dry-run", "--metric", "dg_mean"]
    assert main(command) == 2
    assert "domain 'dusk' has no image" in capsys.readouterr().err
