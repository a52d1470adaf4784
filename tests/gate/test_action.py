"""The composite action: its script is run with a stand-in for edgeprune."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STAND_IN = """#!/bin/bash
printf '%s\\n' "$@" > "$ARGUMENTS"
while [ $# -gt 0 ]; do
    if [ "$1" = --markdown ]; then echo summary > "$2"; fi
    shift
done
exit "$CODE"
"""


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    return loaded


def run(action: dict[str, Any], where: Path, code: int = 0, **inputs: str) -> tuple[int, list[str]]:
    step = action["runs"]["steps"][1]
    values = {name: found.get("default", "") for name, found in action["inputs"].items()} | inputs
    environment = {
        variable: values[re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", text)[1]]  # type: ignore[index]
        for variable, text in step["env"].items()
    }
    (where / "edgeprune").write_text(STAND_IN)
    (where / "edgeprune").chmod(0o755)
    own = {
        "PATH": f"{where}:{os.environ['PATH']}",
        "ARGUMENTS": str(where / "arguments"),
        "GITHUB_STEP_SUMMARY": str(where / "step"),
        "CODE": str(code),
    }
    # As GitHub runs it.
    shell = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]]
    done = subprocess.run(shell, env=environment | own, cwd=where, timeout=60, check=False)
    return done.returncode, (where / "arguments").read_text().splitlines()


def test_only_what_is_given_becomes_an_option(action: dict[str, Any], tmp_path: Path) -> None:
    code, arguments = run(action, tmp_path, bench="bench.json")
    assert code == 0
    assert arguments[:2] == ["check", "--markdown"]
    assert arguments[3:] == ["--", "bench.json"]


def test_all_inputs_reach_the_command(action: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "step").write_text("before\n")
    given = {
        "bench": "a b.json",
        "against": "$(touch hacked); x.onnx",
        "max-regression": "median:10%  p95:20%",
        "min-accuracy": "50",
        "strict": "true",
        "history": "h.jsonl",
    }
    code, arguments = run(action, tmp_path, code=1, **given)
    assert code == 1
    assert arguments[3:] == [
        *("--against", "$(touch hacked); x.onnx"),
        *("--max-regression", "median:10%", "--max-regression", "p95:20%"),
        *("--min-accuracy", "50", "--strict", "--history", "h.jsonl", "--", "a b.json"),
    ]
    assert not (tmp_path / "hacked").exists()
    assert (tmp_path / "step").read_text() == "before\nsummary\n"


def test_no_input_is_written_into_a_script(action: dict[str, Any]) -> None:
    for step in action["runs"]["steps"]:
        assert "${{" not in step["run"]
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text()))
    assert used == set(action["inputs"])
