from __future__ import annotations

import json
import resource
import signal
from pathlib import Path

import gate_runs as runs
import pytest

from edgeprune.cli import main
from edgeprune.errors import OutputError, ResultError
from edgeprune.gate.history import append, read
from edgeprune.reporting.history.series import build_panels
from edgeprune.schema import CheckResult


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_SHA", raising=False)
    monkeypatch.delenv("CI_COMMIT_SHA", raising=False)
    runs.write(tmp_path / "base.json", runs.bench(runs.measurement("half", 5)))
    runs.write(tmp_path / "slow.json", runs.bench(runs.measurement("half", 6)))
    return tmp_path


def check(bench: str, commit: str) -> int:
    history = ["--history", "history.jsonl", "--commit", commit]
    return main(["check", bench, "--baseline", "base.json", *history])


def test_every_check_is_a_line_and_report_plots_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [check("base.json", "a" * 40), check("slow.json", "b" * 40)] == [0, 1]
    first, second = read(folder / "history.jsonl")
    assert (first.passed, second.passed) == (True, False)
    assert second.commit == "b" * 40
    assert second.machine["cpu"] == runs.ENVIRONMENT["cpu"]
    (panel,) = build_panels([first, second])
    (series,) = panel.series
    assert [point.value for point in series.points] == pytest.approx([5, 6], rel=0.02)
    assert [point.verdict for point in series.points] == ["passed", "failed"]

    capsys.readouterr()
    for suffix in (".html", ".svg", ".csv", ".json"):
        assert main(["report", "history.jsonl", "-o", f"plot{suffix}"]) == 0
    assert "2 checks, 1 failed; the last one (bbbbbbb) did not hold" in capsys.readouterr().out
    assert "<svg" in (folder / "plot.svg").read_text()
    page = (folder / "plot.html").read_text()
    assert "bbbbbbb" in page
    assert page.count('class="point"') == page.count("<tr data-model=") > 0
    assert len((folder / "plot.csv").read_text().splitlines()) == 3
    assert len(json.loads((folder / "plot.json").read_text())["lines"]) == 2


def test_machines_never_share_a_line(folder: Path) -> None:
    check("base.json", "a" * 40)
    line = read(folder / "history.jsonl")[0]
    other = line.model_copy(update={"machine": {**line.machine, "governor": "powersave"}})
    (panel,) = build_panels([line, other, line])
    assert [len(series.points) for series in panel.series] == [2, 1]
    assert [series.machine for series in panel.series] == [
        f"{runs.ENVIRONMENT['cpu']} #1",
        f"{runs.ENVIRONMENT['cpu']} #2",
    ]


def test_a_line_from_before_a_fact_was_known_is_of_the_same_machine(folder: Path) -> None:
    check("base.json", "a" * 40)
    line = read(folder / "history.jsonl")[0]
    assert line.machine["board"] is None
    machine = {name: fact for name, fact in line.machine.items() if name != "board"}
    (panel,) = build_panels([line.model_copy(update={"machine": machine}), line])
    assert [len(series.points) for series in panel.series] == [2]


def test_a_line_that_was_cut_off_does_not_swallow_the_next(folder: Path) -> None:
    path = folder / "history.jsonl"
    path.write_text('{"schema": "edgeprune/his')
    result = CheckResult(passed=True, strict=False, interleaved=None, findings=[])
    append(path, result, "c")
    assert len(path.read_text().splitlines()) == 2
    with pytest.raises(ResultError, match=r"line 1' is not valid JSON"):
        read(path)


def test_a_full_disk_takes_back_the_line_that_it_cut_off(folder: Path) -> None:
    result = CheckResult(passed=True, strict=False, interleaved=None, findings=[])
    path = folder / "h.jsonl"
    append(path, result, "c")
    before = path.read_bytes()
    # Room for ten more bytes; what would be more is refused as on a full disk.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        with pytest.raises(OutputError, match="no space left on the disk while writing"):
            append(path, result, "d")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no check"),
        ("{}\n", "has schema None"),
        ('{"schema": "edgeprune/history@1"}\n', "is damaged"),
        ('{"a": NaN}\n', "NaN is not a number"),
    ],
)
def test_what_is_no_history_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "bad.jsonl").write_text(text)
    with pytest.raises(ResultError) as error:
        read(folder / "bad.jsonl")
    assert message in str(error.value)


def altered(line: str, where: str, value: str) -> str:
    """Put a value, as JSON writes it, in the place of a fact of a line or of its first finding."""
    facts = json.loads(line)
    group = facts if where in facts else facts["findings"][0]
    group[where] = "?"
    return json.dumps(facts).replace('"?"', value)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("current", "1e999", "findings.0.current is inf; a finite number was expected"),
        ("current", "-5.0", "findings.0.current is -5.0; it must be above 0"),
        ("baseline", "0", "findings.0.baseline is 0.0; it must be above 0"),
        ("ratio", "-1.0", "findings.0.ratio is -1.0"),
        ("ci95", "[-1.0, 1.0]", "findings.0.ci95 is -1.0"),
        ("ci95", "[1.2, 1.0]", "findings.0.ci95 is 1.2 to 1.0; its lower end"),
        ("batch", "0", "findings.0.batch is 0"),
        ("time", '"yesterday"', "time is 'yesterday'; one such as 2026-01-31T12:00:00+00:00"),
        ("time", '""', "time is ''"),
    ],
)
def test_a_line_that_no_check_wrote_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], where: str, value: str, message: str
) -> None:
    check("base.json", "a" * 40)
    path = folder / "history.jsonl"
    good = path.read_text()
    path.write_text(good + altered(good, where, value) + "\n")
    capsys.readouterr()
    assert main(["report", "history.jsonl", "-o", "plot.csv"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "history.jsonl, line 2' is damaged" in error
    assert not Path("plot.csv").exists()


def test_times_and_accuracies_as_others_write_them_are_read(folder: Path) -> None:
    check("base.json", "a" * 40)
    path = folder / "history.jsonl"
    facts = json.loads(path.read_text())
    facts["time"] = "2026-01-31T12:00:00Z"
    # Nothing was right, and the limit lay below 0.
    accuracy = {"unit": "%", "current": 0.0, "limit": -3.0, "ratio": None, "ci95": None}
    facts["findings"][0] |= accuracy
    path.write_text(json.dumps(facts))
    assert read(path)[0].findings[0].current == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.jsonl", "-o", "a.html"], "cannot be read"),
        (["h.jsonl", "base.json", "-o", "a.html"], "reported by itself"),
        (["h.jsonl", "-o", "a.tex"], "accepted: .html, .csv, .json, .svg, .png"),
        (["h.jsonl", "-o", "a.html", "--budget", "p50<1ms"], "--budget is for runs"),
    ],
)
def test_bad_usage(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    check("base.json", "a" * 40)
    (folder / "history.jsonl").rename("h.jsonl")
    capsys.readouterr()
    assert main(["report", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not Path("a.html").exists()


def test_the_commit_is_that_of_the_job_or_of_git(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = CheckResult(passed=True, strict=False, interleaved=None, findings=[])
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
    append(folder / "h.jsonl", result)
    monkeypatch.setenv("GITHUB_SHA", "d" * 40)
    append(folder / "h.jsonl", result)
    assert [line.commit for line in read(folder / "h.jsonl")] == [None, "d" * 40]
