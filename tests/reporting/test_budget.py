from __future__ import annotations

from pathlib import Path

import pytest
import report_runs as runs

from edgeprune.cli import main
from edgeprune.errors import UsageError
from edgeprune.reporting.budget import choose, parse_budget
from edgeprune.reporting.document import ReportRow


def row(label: str, p50: float | None, accuracy: float | None, **facts: object) -> ReportRow:
    given = {
        "runtime": "onnxruntime" if p50 else None,
        "device": "cpu",
        "precision": "fp32",
        "batch": 1,
        "threads": 1,
        "target": "sketch",
        **facts,
    }
    return ReportRow.model_validate(
        {
            "label": label,
            "short": label,
            "latency_p50_ms": p50,
            "latency_p95_ms": p50 and 1.1 * p50,
            "target_accuracy": accuracy,
            "drop_points": accuracy and accuracy - 80,
            **given,
        }
    )


ROWS = [row("dense", 30.0, 80.0), row("half", 10.0, 78.0), row("quarter", 4.0, 70.0)]


def chosen(*budgets: str, rows: list[ReportRow] = ROWS, device: str | None = None) -> str | None:
    (choice,) = choose(rows, [parse_budget(text) for text in budgets], device)
    return choice.label


@pytest.mark.parametrize(
    ("budgets", "label"),
    [
        (["p50<100ms"], "dense"),
        (["p50<=10ms"], "half"),
        (["p50<10ms"], "quarter"),
        (["p95<11.5ms"], "half"),
        (["p50 < 0.005 s"], "quarter"),
        (["P50<5000us"], "quarter"),
        (["accuracy>=75"], "half"),
        (["drop<=2"], "half"),
        (["drop<=20 points", "p50<20"], "half"),
        (["p50<1ms"], None),
        (["accuracy>99%"], None),
    ],
    ids=lambda value: str(value),
)
def test_the_best_within_the_budget(budgets: list[str], label: str | None) -> None:
    assert chosen(*budgets) == label


def test_what_is_not_known_is_neither_kept_nor_hidden() -> None:
    rows = [*ROWS, row("few calls", 1.0, 79.0, latency_p95_ms=None), row("int8", 2.0, None)]
    (choice,) = choose(rows, [parse_budget("p95<20ms")])
    assert choice.label == "half"
    assert choice.not_judged == ["few calls", "int8"]
    assert choice.judged == 3


def test_each_way_of_measuring_has_its_choice() -> None:
    far = [row("half", 2.0, 78.0, device="jetson-orin-nano", estimated=True)]
    found = choose([*ROWS, *far], [parse_budget("p50<5ms")])
    assert [(choice.label, choice.estimated) for choice in found] == [
        ("quarter", False),
        ("half", True),
    ]
    assert "estimated" in found[1].sentence
    assert chosen("p50<5ms", rows=[*ROWS, *far], device="jetson-orin-nano") == "half"
    with pytest.raises(UsageError, match="there is cpu, jetson-orin-nano"):
        choose([*ROWS, *far], [parse_budget("p50<5ms")], "cuda")


def test_two_bench_results_may_be_of_two_machines() -> None:
    rows = [
        row("slow", 30.0, 80.0, bench="one/bench.json"),
        row("fast", 3.0, 70.0, bench="two/bench.json"),
    ]
    found = choose(rows, [parse_budget("accuracy>60")])
    assert [choice.label for choice in found] == ["slow", "fast"]
    assert ["(one/bench.json)" in choice.sentence for choice in found] == [True, False]


def test_what_was_not_measured_is_named() -> None:
    (choice,) = choose([*ROWS, row("unmeasured", None, 90.0)], [parse_budget("p50<20ms")])
    assert (choice.label, choice.not_judged) == ("half", ["unmeasured"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p95=10ms", "a figure, a comparison and a number are"),
        ("p97<10ms", "unknown figure of a budget 'p97'"),
        ("p95<ten", "a figure, a comparison and a number are"),
        ("p95<1e", "'1e' is not a number"),
        ("p95<10h", "unit 'h' is not accepted; us, ms, s is"),
        ("", "a figure, a comparison and a number are"),
    ],
)
def test_a_budget_that_is_none(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_budget(text)
    assert message in str(error.value)


def test_the_command_says_it_in_every_format_and_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dense = runs.write_artifact(tmp_path / "dense", ratio=0.0, accuracy=58.0)
    half = runs.write_artifact(tmp_path / "half", ratio=0.5, accuracy=56.0)
    bench = runs.write_bench(
        tmp_path / "bench.json",
        runs.bench([runs.measurement("dense", 30.0), runs.measurement("half", 10.0)], []),
    )
    given = [str(dense), str(half), str(bench)]
    for suffix in (".md", ".html", ".json"):
        out = tmp_path / f"report{suffix}"
        assert main(["report", *given, "-o", str(out), "--budget", "p95<20ms"]) == 0
        assert "half is the most accurate" in out.read_text()
    capsys.readouterr()
    out = tmp_path / "none.md"
    assert main(["report", *given, "-o", str(out), "--budget", "p95<1ms"]) == 1
    assert "none of 2 models" in capsys.readouterr().out
    assert out.exists()
    assert main(["report", *given, "-o", str(out), "--device", "cpu"]) == 2
