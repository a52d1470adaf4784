from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "gate"))
import gate_runs as runs

from edgeprune.cli import main


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    base = runs.bench(runs.measurement("half", 5))
    runs.write(tmp_path / "base.json", base)
    runs.write(tmp_path / "same.json", base)
    runs.write(tmp_path / "slow.json", runs.bench(runs.measurement("half", 6)))
    no_calls = runs.bench(runs.measurement("half", raw=None))
    runs.write(tmp_path / "old.json", no_calls)


def damaged(path: Path, **changes: Any) -> None:
    """Write base.json with some facts of its measurement replaced; dots lead into groups."""
    document = json.loads(Path("base.json").read_text())
    for name, value in changes.items():
        group = document["measurements"][0]
        *inner, last = name.split("__")
        for key in inner:
            group = group[key]
        group[last] = value
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("arguments", "code", "headline"),
    [
        (["same.json"], 0, "The check holds: 1 passed."),
        (["slow.json"], 1, "The check does not hold: 1 failed."),
        (["slow.json", "--max-regression", "25%"], 0, "The check holds: 1 passed."),
        (["old.json"], 0, "Nothing failed, but not all is settled: 1 inconclusive."),
        (["old.json", "--strict"], 1, "1 inconclusive (strict: inconclusive does not hold)."),
    ],
)
def test_exit_code_and_headline(
    arguments: list[str], code: int, headline: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments, "--baseline", "base.json"]) == code
    out, err = capsys.readouterr()
    assert headline in out
    assert err == ""


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    limits = ["--max-regression", "median:10%", "--max-size-growth", "1%"]
    main(["check", "slow.json", "--baseline", "base.json", *limits])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "onnxruntime, cpu, fp32, 1 thread, batch 1"
    assert lines[2].split()[-2:] == ["limit", "verdict"]
    assert lines[4].strip() == "half"
    median, weights = lines[5], lines[6]
    assert median.split()[:4] == ["median", "ms", "5", "6"]
    assert median.split()[-3:] == ["max", "1.1", "failed"]
    assert weights.split() == ["weights", "MB", "80", "80", "1.000", "max", "1.01", "passed"]


def test_no_runtime_is_loaded_to_compare_two_files() -> None:
    code = (
        "import sys; from edgeprune.cli import main;"
        "main(['check', 'same.json', '--baseline', 'base.json']);"
        "print([name for name in ('torch', 'onnxruntime', 'timm') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_json_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--junit", "out/j.xml", "--markdown", "out/m.md"]
    assert main(["check", "old.json", "--baseline", "base.json", "--json", *files]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["schema"] == "edgeprune/check@1"
    assert document["passed"] is True
    keys = ["model", "metric", "baseline", "current", "ratio", "ci95", "limit", "verdict"]
    assert set(keys) <= document["findings"][0].keys()
    assert err.startswith("warning: inconclusive: half (onnxruntime, ")
    assert "<skipped message=" in (tmp_path / "out/j.xml").read_text()
    assert "| half | median ms |" in (tmp_path / "out/m.md").read_text()


def test_github_is_told_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert main(["check", "slow.json", "--baseline", "base.json", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["passed"] is False
    assert err.startswith("::error title=edgeprune%3A failed::half (onnxruntime, ")
    assert main(["check", "same.json", "--baseline", "base.json", "--json"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "BENCH.json"),
        (["none.json"], 2, "'none.json' does not exist"),
        (["."], 2, "'.' is a directory"),
        (["same.json", "--baseline", "none.json"], 2, "'none.json' does not exist"),
        (["same.json"], 2, "has no baseline to compare with"),
        (["same.json", "--baseline", "base.json", "--against", "x.onnx"], 2, "exclude each other"),
        (["same.json", "--against", "x.onnx"], 2, "'x.onnx' does not exist"),
        (["same.json", "--model", "dense"], 2, "no model 'dense'; accepted: half"),
        (["same.json", "--max-regression", "10"], 2, "'10' is not accepted; percent are"),
        (["same.json", "--max-regression", "mean:5%"], 2, "median, p90, p95, p99"),
        (["same.json", "--max-size-growth", "lots"], 2, "max-size-growth 'lots'"),
        (["same.json", "--min-accuracy", "nan"], 2, "min-accuracy nan"),
        (["same.json", "--min-accuracy", "50"], 2, "accuracy of 'half' is not known"),
        (["same.json", "--min-accuracy", "50", "--eval", "base.json"], 2, "edgeprune/eval@1"),
        (["same.json", "--eval", "base.json"], 2, "--eval 'base.json' is for a limit on accuracy"),
        (["same.json", "--max-time", "inf"], 2, "max-time inf"),
        (
            ["same.json", "--min-time", "1"],
            2,
            "--min-time 1.0 is for measuring anew; it needs --ag",
        ),
        (["same.json", "--img-size", "96"], 2, "--img-size 96 is for measuring anew"),
        (["same.json", "--num-classes", "3"], 2, "--num-classes 3 is for measuring anew"),
        (["same.json", "--weights", "w"], 2, "--weights w is for measuring anew"),
        (["same.json", "--no-pretrained"], 2, "--no-pretrained is for measuring anew"),
        (
            ["same.json", "--commit", "abc"],
            2,
            "--commit abc is for the history; it needs --history",
        ),
        (["same.json", "--junit", "."], 2, "is a directory; a file was expected"),
        (["cuda.json", "--against", "x.onnx"], 2, "x.onnx' does not exist"),
        (["board.json", "--against", "half.onnx"], 3, "no such device here"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged(tmp_path / "cuda.json", device="cuda", file="base.json")
    damaged(tmp_path / "board.json", device="jetson-orin-nano")
    before = sorted(tmp_path.rglob("*"))
    fails(capsys, arguments, code, message)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ("/dev/full", "output '/dev/full' is a device or a pipe; a file was expected"),
        (".", "output '.' is a directory; a file was expected"),
        ("old.json", "'old.json, line 1' is not valid JSON"),
        ("old.json/h.jsonl", "old.json' is not a directory"),
        ("bad.jsonl", "'bad.jsonl, line 1' has schema None"),
    ],
)
def test_a_history_that_cannot_be_added_to_is_refused_before_any_work(
    history: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgeprune.gate.check", None)
    (tmp_path / "bad.jsonl").write_text("{}\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    outputs = ["--junit", "j.xml", "--markdown", "m.md", "--history", history]
    fails(capsys, ["same.json", "--baseline", "base.json", *outputs], 2, message)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_history_that_fails_late_leaves_no_other_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("edgeprune.gate.history._add", full)
    before = sorted(tmp_path.iterdir())
    outputs = ["--junit", "j.xml", "--markdown", "m.md", "--history", "h.jsonl"]
    message = "no space left on the disk while writing 'h.jsonl'"
    fails(capsys, ["slow.json", "--baseline", "base.json", *outputs], 2, message)
    assert sorted(tmp_path.iterdir()) == before


def test_a_history_may_be_empty_or_lie_in_a_new_directory(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    for name in ("empty.jsonl", "new/h.jsonl"):
        assert main(["check", "same.json", "--baseline", "base.json", "--history", name]) == 0
        assert len((tmp_path / name).read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (["--junit", "same.json"], "'same.json' is an input of the same command"),
        (["--markdown", "./base.json"], "'base.json' is an input of the same command"),
        (["--history", "same.json"], "'same.json' is an input of the same command"),
        (["--history", "scores.json"], "'scores.json' is an input of the same command"),
        (["--junit", "new", "--markdown", "new"], "'new' is named for two outputs"),
        (["--junit", "new", "--history", "./new"], "'new' is named for two outputs"),
    ],
)
def test_an_output_never_replaces_an_input_or_another_output(
    outputs: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scores.json").write_text("{}")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    inputs = [
        "same.json",
        "--baseline",
        "base.json",
        "--eval",
        "scores.json",
        "--min-accuracy",
        "5",
    ]
    fails(capsys, [*inputs, *outputs], 2, message)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latency_ms__p50": float("nan")}, "latency_ms.p50 is nan; a finite number"),
        ({"latency_ms__p95": float("inf")}, "latency_ms.p95 is inf; a finite number"),
        ({"latency_ms__p50": -5.0}, "latency_ms.p50 is -5.0; it must be above 0"),
        ({"latency_ms__mean": 0.0}, "latency_ms.mean is 0.0; it must be above 0"),
        ({"latency_ms__ci95": [-1.0, 5.0]}, "latency_ms.ci95 is -1.0; it must be above 0"),
        ({"latency_ms__ci95": [5.1, 4.9]}, "latency_ms.ci95 is 5.1 to 4.9; its lower end"),
        ({"latency_ms__p50": 5.02}, "the median of its calls is"),
        ({"latency_ms__p50": 5.5}, "it must not be below p50, 5.5"),
        ({"latency_ms__min": 5.03}, "it must not be below min, 5.03"),
        ({"latency_ms__p95": None, "latency_ms__p99": 5.0}, "p99 is 5.0; it must not be below p90"),
        ({"memory_mb__weights": -80.0}, "memory_mb.weights is -80.0"),
        ({"batch": 0}, "batch is 0; it must be above 0"),
        ({"samples": -1}, "samples is -1"),
        ({"raw__rounds": [1, 2]}, "calls of 'half' are damaged"),
        ({"raw__data": "x"}, "calls of 'half' are damaged"),
        ({"raw": [1.0]}, "measurements.0.raw"),
        ({"surprise": 1}, "measurements.0.surprise"),
    ],
)
@pytest.mark.parametrize("side", ["current", "baseline"])
def test_damaged_figures_are_named(
    changes: dict[str, Any],
    message: str,
    side: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged(tmp_path / "bad.json", **changes)
    pair = ["bad.json", "base.json"] if side == "current" else ["base.json", "bad.json"]
    fails(capsys, [pair[0], "--baseline", pair[1]], 2, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[]", "has schema None"),
        ('{"schema": "edgeprune/bench@2"}', "has schema 'edgeprune/bench@2'"),
        ('{"schema": "edgeprune/eval@1"}', "reads 'edgeprune/bench@1'"),
        ('{"schema": "edgeprune/bench@1"}', "is damaged: environment"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "not valid JSON"),
        ("\x00\xff", "not valid JSON"),
    ],
)
def test_what_is_no_result_is_refused(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.json").write_bytes(text.encode("latin-1"))
    fails(capsys, ["base.json", "--baseline", "bad.json"], 2, message)


def test_an_empty_result_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs.write(tmp_path / "empty.json", runs.bench())
    fails(capsys, ["empty.json", "--baseline", "base.json"], 2, "holds no measurement")
    fails(capsys, ["base.json", "--baseline", "empty.json"], 2, "nothing in the other")


def test_another_machine_is_refused_with_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.write(tmp_path / "far.json", runs.bench(runs.measurement("half"), cpu="Other"))
    fails(capsys, ["same.json", "--baseline", "far.json"], 2, "'same.json' and 'far.json' were")
    main(["check", "same.json", "--baseline", "far.json"])
    assert "hint: --against MODEL_OR_FILE" in capsys.readouterr().err


def fails(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert main(["check", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) <= 2
