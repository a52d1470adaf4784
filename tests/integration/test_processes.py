"""Two real processes (gloo) on one batch, started by torchrun and by accelerate launch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file
from toy_domains import MODEL, SIZE, write_toy_domains

from edgeprune.cli import main

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
# A free port each, since tests run side by side.
TORCHRUN = [str(BIN / "torchrun"), "--standalone", "--nproc-per-node", "2"]
# What --multi_gpu says is that several processes are started; edgeprune's --device decides.
ACCELERATE = [
    str(BIN / "accelerate"),
    *("launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
]
DENSE = ["--no-pretrained", "--num-classes", "3", "--img-size", str(SIZE)]
STEPS = 16
LR = 1e-4
# One step of AdamW moves a weight by up to LR whatever its gradient, so that another batch or an
# unshared gradient shows as a whole LR; rounding, where a gradient is nearly 0, as a hundredth.
TOLERANCE = 0.1 * LR


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_domains(tmp_path_factory.mktemp("data") / "halves", per_class=6)


def _arguments(root: Path, output: Path, *more: str) -> list[str]:
    data = ["--data", str(root), "--target", "night", "--teacher", MODEL]
    often = ["--lr", str(LR), "--eval-every", "8", "--checkpoint-every", "1"]
    own = more if "--batch-size" in more else ("--batch-size", "8", *more)
    steps = ["--steps", str(STEPS)]
    return ["finetune", MODEL, "-o", str(output), *data, *DENSE, *often, *steps, *own]


def _start(launcher: list[str], arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*launcher, "-m", "edgeprune", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _run(launcher: list[str], arguments: list[str]) -> tuple[int, str, str]:
    process = _start(launcher, arguments)
    try:
        out, errors = process.communicate(timeout=240)
    finally:
        _end(process)
    return process.returncode, out, errors


def _end(process: subprocess.Popen[str]) -> None:
    """Leave no process behind, whatever the test found."""
    if process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
    process.wait()


def _errors(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error: ")]


def _difference(one: Path, other: Path) -> float:
    first, second = (load_file(path / "model.safetensors") for path in (one, other))
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.fixture(scope="module")
def single(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of the same global batches."""
    output = tmp_path_factory.mktemp("single") / "out"
    assert main(_arguments(root, output)) == 0
    return output


@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_two_processes_end_like_one(
    root: Path, single: Path, tmp_path: Path, launcher: list[str]
) -> None:
    code, out, errors = _run(launcher, _arguments(root, tmp_path / "out", "--json"))
    assert code == 0, errors
    assert 0 < _difference(single, tmp_path / "out") < TOLERANCE
    result = json.loads(out)
    before = json.loads((single / "edgeprune.json").read_text())
    # The calibration error is made of the logits themselves, which differ by rounding.
    calibration = [dg.pop("calibration_error") for dg in (result["dg"], before["dg"])]
    assert calibration[0] == pytest.approx(calibration[1], abs=0.001)
    assert result["dg"] == before["dg"]
    for point, expected in zip(result["history"], before["history"], strict=True):
        assert point["source_val"] == expected["source_val"]
        assert point["loss"] == pytest.approx(expected["loss"], abs=1e-5)
    said = [line.split(":")[0] for line in errors.splitlines() if line.startswith("step ")]
    assert said == ["step 8 of 16", "step 16 of 16"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_another_batch_would_show(root: Path, single: Path, tmp_path: Path) -> None:
    half = _arguments(root, tmp_path / "out", "--batch-size", "4")
    assert main(half) == 0
    assert _difference(single, tmp_path / "out") > 10 * TOLERANCE


@pytest.mark.parametrize(("lost", "then"), [(0, 2), (1, 1)], ids=["in-two", "in-one"])
def test_run_that_lost_a_process_resumes(
    root: Path, single: Path, tmp_path: Path, lost: int, then: int
) -> None:
    arguments = _arguments(root, tmp_path / "out")
    process = _start(TORCHRUN, arguments)
    errors = _kill_one(process, tmp_path / "out.resume/state.json", lost)
    assert process.returncode != 0
    assert len(_errors(errors)) <= 1  # none where the launcher ends the others first
    assert [path.name for path in tmp_path.iterdir()] == ["out.resume"]
    step = json.loads((tmp_path / "out.resume/state.json").read_text())["step"]
    assert 4 <= step < STEPS
    if then == 1:
        assert main([*arguments, "--resume"]) == 0
    else:
        code, _, errors = _run(TORCHRUN, [*arguments, "--resume"])
        assert code == 0, errors
        assert f"resuming after step {step} of {STEPS}" in errors
    assert _difference(single, tmp_path / "out") < TOLERANCE
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--batch-size", "7"], 2, "batch_size 7 does not divide over 2 processes"),
        (["--lr", "1e30"], 1, "the training loss became"),
    ],
    ids=["batch", "loss"],
)
def test_an_error_of_all_is_said_once(
    root: Path, tmp_path: Path, more: list[str], code: int, message: str
) -> None:
    launched, out, errors = _run(TORCHRUN, _arguments(root, tmp_path / "out", *more))
    assert launched != 0
    assert out == ""
    (error,) = _errors(errors)
    assert message in error
    assert f"exitcode  : {code} " in errors
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_one_process_is_said_once(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out.resume").write_text("in the way of the main process's first state")
    launched, _, errors = _run(TORCHRUN, _arguments(root, tmp_path / "out"))
    assert launched != 0
    (error,) = _errors(errors)
    assert "out.resume" in error
    assert not (tmp_path / "out").exists()


def _wait_for_step(process: subprocess.Popen[str], state: Path, step: int) -> None:
    for _ in range(4800):
        if state.exists() and json.loads(state.read_text())["step"] >= step:
            return
        assert process.poll() is None, "the run ended before one of its processes could be killed"
        time.sleep(0.05)
    pytest.fail("no state was written")


def _kill_one(process: subprocess.Popen[str], state: Path, rank: int) -> str:
    """Kill a process in the middle of the run; return what was said until all had ended."""
    try:
        _wait_for_step(process, state, 4)
        _worker(process, rank).kill()
        _, errors = process.communicate(timeout=240)
    finally:
        _end(process)
    return errors


def _worker(launcher: subprocess.Popen[str], rank: int) -> psutil.Process:
    (found,) = [
        child
        for child in psutil.Process(launcher.pid).children(recursive=True)
        if child.environ().get("RANK") == str(rank)
    ]
    return found
