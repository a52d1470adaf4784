"""kill -9 at twenty random moments of a fine-tuning: resumed, it ends with the same bytes."""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from toy_domains import MODEL, SIZE, write_toy_domains

from edgeprune.cli import main
from edgeprune.files import sha256

KILLS = 20
STEPS = 80
# Longer than a step with its state takes, most of which is writing.
AFTER_S = 0.1
PRELOADED = ["edgeprune.training", "edgeprune.loading", "edgeprune.domains.store", "timm"]


def _finetune(arguments: list[str]) -> None:
    sys.exit(main(arguments))


def _start(arguments: list[str]) -> BaseProcess:
    """Start the command in a process of its own, forked from one that has imported torch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_finetune, args=(arguments,))
    process.start()
    return process


def _step(state: Path) -> int:
    return int(json.loads(state.read_text())["step"]) if state.exists() else 0


def _kill_after(process: BaseProcess, state: Path, step: int, seconds: float) -> None:
    """Kill ``process`` that many seconds after it has written the state of ``step``."""
    try:
        for _ in range(6000):
            if _step(state) >= step:
                break
            assert process.is_alive(), "the run ended before it was killed"
            time.sleep(0.01)
        else:
            pytest.fail(f"step {step} was never written")
        time.sleep(seconds)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -9, "the run ended before it was killed"


@pytest.mark.slow
def test_killed_at_twenty_random_moments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_toy_domains(tmp_path / "halves", per_class=6)
    small = tmp_path / "small"
    dense = [MODEL, "--no-pretrained", "--num-classes", "3", "--img-size", str(SIZE)]
    assert main(["prune", *dense, "--metric", "random", "--ratio", "0.75", "-o", str(small)]) == 0

    def command(output: Path) -> list[str]:
        data = ["--data", str(root), "--target", "night", "--batch-size", "4"]
        often = ["--steps", str(STEPS), "--checkpoint-every", "1", "--eval-every", "10"]
        return ["finetune", str(small), "-o", str(output), *data, *often]

    moments = random.Random(0)
    out, parts = tmp_path / "parts" / "out", tmp_path / "parts"
    state = parts / "out.resume" / "state.json"
    for _ in range(KILLS):
        # 0 steps on: in the midst of starting
        wanted = _step(state) + moments.randint(0, 2)
        process = _start([*command(out), "--resume"])
        _kill_after(process, state, wanted, moments.uniform(0, AFTER_S))
        assert [path.name for path in parts.iterdir()] in ([], ["out.resume"])
    last = _step(state)
    assert 0 < last < STEPS
    assert main([*command(out), "--resume"]) == 0
    assert f"resuming after step {last} of {STEPS}" in capsys.readouterr().err
    assert [path.name for path in parts.iterdir()] == ["out"]
    assert main(command(tmp_path / "whole")) == 0
    for name in ("model.safetensors", "edgeprune.json"):
        assert sha256(out / name) == sha256(tmp_path / "whole" / name)
