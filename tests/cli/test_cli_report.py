from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "reporting"))
import report_runs as runs
import sweep_runs as sweeps

from edgeprune.cli import main


def test_report_writes_the_page_and_says_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = runs.demo_runs(tmp_path / "runs")
    assert main(["report", str(root), "-o", str(tmp_path / "r.html"), "--title", "mine"]) == 0
    out = capsys.readouterr().out
    assert "50 % pruned: 2.9x faster at -3.1 points on microsoft (unseen)" in out
    assert "<h1>mine</h1>" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_table_tells_settings_apart_only_where_they_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    root = runs.demo_runs(tmp_path / "runs")
    assert main(["report", str(root), "-o", str(tmp_path / "r.md")]) == 0
    assert "┃ setting" not in capsys.readouterr().out
    more = [runs.measurement("dense", 90.0, device="cuda", batch=8, threads=2)]
    runs.write_bench(root / "more" / "bench.json", runs.bench(more, []))
    runs.write_artifact(root / "unmeasured", ratio=0.75)
    assert main(["report", str(root), "-o", str(tmp_path / "r.md")]) == 0
    out = capsys.readouterr().out
    assert "┃ setting" in out
    lines = [line for line in out.splitlines() if line.count("│") > 5]
    found = {tuple(line.replace("│", "|").split("|")[i].strip() for i in (1, -2)) for line in lines}
    assert found == {
        ("dense", "cpu, batch 1, 1 thread"),
        ("dense", "cuda, batch 8, 2 threads"),
        ("pruned", "cpu, batch 1, 1 thread"),
        ("unmeasured", "not measured"),
    }


def test_json_on_stdout_is_the_json_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = runs.demo_runs(tmp_path / "runs")
    arguments = [str(root / "dense"), str(root / "pruned"), str(root / "bench.json")]
    assert main(["report", *arguments, "-o", str(tmp_path / "r.json"), "--json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["schema"] == "edgeprune/report@1"
    assert out == (tmp_path / "r.json").read_text(encoding="utf-8")


def test_a_report_does_not_need_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    root = runs.demo_runs(tmp_path / "runs")
    assert main(["report", str(root), "-o", str(tmp_path / "r.md")]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent", "-o", "r.html"], "run 'absent' does not exist"),
        (["empty", "-o", "r.html"], "holds neither an artifact nor a bench.json"),
        (["runs", "-o", "r.docx"], "accepted: .html, .md, .csv, .json"),
        (["runs", "-o", "runs"], "is a directory"),
        (["runs/bench.json", "-o", "runs/bench.json"], "is an input of the same command"),
        (["runs", "-o", "runs/bench.json"], "'runs/bench.json' is an input of the same command"),
        (["runs", "-o", "runs/dense/edgeprune.json"], "is an input of the same command"),
        (["broken.json", "-o", "r.html"], "not valid JSON"),
        (["runs"], "missing option"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    runs.demo_runs(tmp_path / "runs")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    assert main(["report", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert len([line for line in captured.err.splitlines() if line.startswith("error")]) == 1
    assert "Traceback" not in captured.err
    after = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    assert after == before


def test_a_sweep_is_reported_by_its_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setenv("COLUMNS", "200")
    root = sweeps.full_sweep(tmp_path / "sweep")
    assert main(["report", str(root), "-o", str(tmp_path / "r.tex")]) == 0
    out = capsys.readouterr().out
    assert "168 of 168 trials done" in out
    assert "3.3x faster at -1.2 points over 4 unseen domains" in out
    assert r"\toprule" in (tmp_path / "r.tex").read_text(encoding="utf-8")
    arguments = [str(root / "results.sqlite"), "-o", str(tmp_path / "r.json"), "--json"]
    assert main(["report", *arguments]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["schema"] == "edgeprune/sweep-report@1"
    assert out == (tmp_path / "r.json").read_text(encoding="utf-8")
