from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_domains import MODEL, SIZE, write_toy_domains

from edgeprune.cli import main
from edgeprune.files import sha256

DENSE = ["--no-pretrained", "--num-classes", "3", "--img-size", str(SIZE)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_domains(tmp_path_factory.mktemp("data") / "halves", per_class=6)


def _command(root: Path, output: Path, *more: str) -> list[str]:
    data = ["--data", str(root), "--target", "night"]
    return ["finetune", MODEL, "-o", str(output), *data, *DENSE, "--batch-size", "4", *more]


def test_finetune_then_eval_agree(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(_command(root, out, "--steps", "4", "--seed", "3", "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["schema"] == "edgeprune/finetune@1"
    assert result["steps"] == 4
    assert result["dg"]["split"]["seed"] == 3
    assert main(["eval", str(out), "--data", str(root), "--json"]) == 0
    captured = capsys.readouterr()
    scored = json.loads(captured.out)
    assert scored["schema"] == "edgeprune/eval@1"
    assert scored["dg"] == result["dg"]
    assert scored["fingerprint"] == result["fingerprint"]
    assert scored["scored"] == str(out)
    assert (scored["seed"], set(scored["machine"])) == (3, {"cpu", "cores"})
    assert "note" not in captured.err
    kept = ["--against", str(out), "-o", str(tmp_path / "p.safetensors")]
    assert main(["eval", str(out), "--data", str(root), *kept]) == 0
    # Beside the weights lie the same bytes.
    assert sha256(tmp_path / "p.safetensors") == sha256(out / "predictions.safetensors")
    captured = capsys.readouterr()
    assert "0.0 % of 18 answers flipped" in " ".join(captured.out.split())
    assert "calibration error on night" in captured.out
    assert main(["eval", str(out), "--data", str(root), "--target", "day"]) == 0
    captured = capsys.readouterr()
    assert "day (held out)" in captured.out
    assert "not that on an unseen domain" in captured.err


def test_tables_name_steps_and_domains(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_command(root, tmp_path / "out", "--steps", "2")) == 0
    out = capsys.readouterr().out
    for expected in ("night (held out)", "95 % interval", "source validation", "all sources"):
        assert expected in out


def test_one_source_from_pruning_to_evaluation(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(root), "--source", "day"]
    pruned, tuned = str(tmp_path / "pruned"), str(tmp_path / "tuned")
    made = ["prune", MODEL, "-o", pruned, *data, *DENSE, "--metric", "taylor", "--samples", "6"]
    assert main([*made, "--json"]) == 0
    assert main(["finetune", pruned, "-o", tuned, *data, "--steps", "1", "--json"]) == 0
    record = json.loads((tmp_path / "tuned/edgeprune.json").read_text())
    assert [step["data"]["sources"] for step in record["made"]] == [["day"], ["day"]]
    assert record["dg"]["targets"] == ["dusk", "night"]
    capsys.readouterr()
    assert main(["eval", tuned, "--data", str(root)]) == 0
    captured = capsys.readouterr()
    for expected in ("dusk (held out)", "night (held out)", "mean of those held out"):
        assert expected in captured.out
    assert "note" not in captured.err


def test_oracle_selection_is_marked_in_every_table(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = "oracle selection: the target picked the step"
    assert main(_command(root, tmp_path / "out", "--steps", "2", "--selection", "oracle")) == 0
    assert mark in capsys.readouterr().out
    assert main(["eval", str(tmp_path / "out"), "--data", str(root)]) == 0
    assert mark in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--steps", "1", "--epochs", "1"], 2, "give one of the two"),
        (["--lr", "-1"], 2, "lr -1.0 is not accepted"),
        (["--target", "noon"], 2, "unknown domain 'noon'; accepted: day, dusk, night"),
        (["--selection", "best"], 2, "unknown selection 'best'; accepted: source, last, oracle"),
        (["--precision", "int4"], 2, "unknown precision 'int4'"),
        (["--precision", "fp16"], 3, "'fp16' cannot be trained in on the CPU"),
        (["--num-classes", "5"], 2, "5 classes, the data have 3"),
        (["--teacher", "no_such_model"], 2, "unknown model 'no_such_model'"),
        (["--recipe", "recovr"], 2, "unknown recipe 'recovr'; accepted: domainbed, recover"),
        (["--recipe", "no.toml"], 2, "recipe 'no.toml' cannot be read"),
        (["--data", "nowhere"], 2, "'nowhere' does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    message: str,
) -> None:
    assert main(_command(root, tmp_path / "out", *options)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_asked_for(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert main(["finetune", MODEL, "-o", out]) == 2
    assert "--data" in capsys.readouterr().err
    assert main(["finetune", MODEL, "-o", out, "--data", str(root)]) == 2
    assert "accepted: day, dusk, night" in capsys.readouterr().err
    assert main(["eval", MODEL, *DENSE, "--data", str(root)]) == 2
    assert "accepted: day, dusk, night" in capsys.readouterr().err


def test_options_win_over_the_recipe(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("steps = 2\nlr = 1e-3\nweight_decay = 0.3\n")
    options = ["--recipe", str(recipe), "--weight-decay", "0", "--json"]
    assert main(_command(root, tmp_path / "out", *options)) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2
    record = json.loads((tmp_path / "out/edgeprune.json").read_text())
    made = record["made"][0]["options"]
    assert (made["lr"], made["weight_decay"], made["clip_norm"]) == (1e-3, 0.0, 1.0)


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgeprune/recipes-list@1"
    listed = {recipe["name"]: recipe["settings"] for recipe in document["recipes"]}
    assert listed["domainbed"]["steps"] == 5001
    assert main(["recipes", "list"]) == 0
    assert "domainbed" in capsys.readouterr().out


def test_output_that_is_not_empty_is_kept(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    assert main(_command(root, tmp_path / "out", "--steps", "1")) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "out/mine").exists()


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "edgeprune", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    )


def _wait_for_state(process: subprocess.Popen[bytes], state: Path, step: int) -> None:
    """Wait until the run has written a state of at least ``step``."""
    for _ in range(600):
        if state.exists() and json.loads(state.read_text())["step"] >= step:
            return
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    pytest.fail("no state was written")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "average"),
    [
        (signal.SIGKILL, -signal.SIGKILL, "none"),
        (signal.SIGKILL, -signal.SIGKILL, "ema"),
        (signal.SIGKILL, -signal.SIGKILL, "swad"),
        (signal.SIGINT, 130, "none"),
        (signal.SIGTERM, 143, "none"),
    ],
)
def test_killed_run_resumes_to_the_same_bytes(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    number: int,
    code: int,
    average: str,
) -> None:
    more = ["--steps", "40", "--checkpoint-every", "3", "--eval-every", "10"]
    more += ["--average", average]
    out = tmp_path / "parts" / "out"
    process = _start(_command(root, out, *more))
    try:
        _wait_for_state(process, tmp_path / "parts/out.resume/state.json", 6)
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["out.resume"]
    assert main(_command(root, out, *more, "--resume")) == 0
    assert "resuming after step" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["out"]
    assert main(_command(root, tmp_path / "whole", *more)) == 0
    for name in ("model.safetensors", "edgeprune.json"):
        assert sha256(out / name) == sha256(tmp_path / "whole" / name)
