"""Ctrl-C in every long command: exit code 130, nothing half-written, no process left."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

VIT = ["vit_base_patch16_224", "--no-pretrained", "--num-classes", "8"]
TINY = ["vit_tiny_patch16_224", "--no-pretrained", "--num-classes", "8", "--img-size", "64"]
EMOJI = ["--data", "emoji", "--target", "microsoft"]

# Each works for longer than it takes to be interrupted.
COMMANDS = {
    "prune": ["prune", *VIT, *EMOJI, "--samples", "4000", "-o", "out"],
    "finetune": ["finetune", *TINY, *EMOJI, "--steps", "100000", "-o", "out"],
    "eval": ["eval", *VIT, *EMOJI],
    "export": ["export", *VIT, "--onnx", "-o", "out"],
    "bench": ["bench", "vit_tiny_patch16_224", "--min-time", "600", "-o", "out.json"],
    "demo": ["demo", "-o", "out"],
}
# What a resumed run starts from may stay; so may the finished stages of a demo.
KEPT = {"finetune": {"out.resume"}, "demo": {"out"}}


def _interrupt(arguments: list[str], folder: Path, after_s: float) -> tuple[int, str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeprune", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(after_s, process.send_signal, [signal.SIGINT])
    timer.start()
    try:
        _, errors = process.communicate(timeout=after_s + 90)
    finally:
        timer.cancel()
        process.kill()
    return process.returncode, errors


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c(name: str, tmp_path: Path) -> None:
    # a quick command may be done before the signal: then earlier ones are tried
    for after_s in (12.0, 6.0, 3.0, 1.5, 0.8):
        code, errors = _interrupt(COMMANDS[name], tmp_path, after_s)
        if code != 0:
            break
        for made in tmp_path.iterdir():
            subprocess.run(["rm", "-rf", str(made)], check=True)
    assert code == 130, errors
    assert errors.strip().splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors
    assert {path.name for path in tmp_path.iterdir()} <= KEPT.get(name, set())
    time.sleep(0.2)
    ours = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(p.info["cmdline"])]
    assert not ours


@pytest.mark.slow
def test_a_demo_leaves_only_finished_stages(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeprune", "demo", "--quick", "-o", "out"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (tmp_path / "out" / "dense").exists():
            assert process.poll() is None, "it ended before its first stage did"
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 130
    finally:
        process.kill()
    left = {path.name for path in (tmp_path / "out").iterdir()}
    finished = {"demo.json", "weights.safetensors", "dense.resume", "dense", "pruned-50-untuned"}
    assert left <= finished | {"pruned-50.resume", "pruned-50"}
