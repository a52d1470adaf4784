"""Estimates in a report: marked in every format, and never in one plot with measurements."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import report_runs as runs

from edgeprune.reporting import report
from edgeprune.reporting.collect import collect
from edgeprune.reporting.panels import build_panels
from edgeprune.reporting.write import build
from edgeprune.schema import Latency


def estimate(model: str, p50: float, fingerprint: str):
    nothing = dict.fromkeys(("min", "p90", "p95", "p99", "mean", "std"))
    return runs.measurement(
        model,
        p50,
        estimated=True,
        runtime="tensorrt",
        device="jetson-orin-nano",
        samples=0,
        latency_ms=Latency(p50=p50, ci95=(p50 / 1.6, p50 * 1.6), **nothing),
        fingerprint=fingerprint,
    )


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    root = runs.demo_runs(tmp_path / "runs")
    dense, pruned = runs.record(), runs.record(ratio=0.5, accuracy=55.6)
    rows = [
        estimate("dense", 3.15, dense.weights_sha256),
        estimate("pruned", 1.5, pruned.weights_sha256),
    ]
    runs.write_bench(
        root / "estimate" / "bench.json",
        runs.bench(rows, [runs.comparison("pruned", "dense", 2.1)]),
    )
    return root


def test_estimates_have_a_plot_of_their_own(mixed: Path) -> None:
    panels, _ = build_panels(build(collect([mixed]), title="t").rows)
    assert {panel.how for panel in panels} == {"Measured", "Estimated"}
    for panel in panels:
        assert {point.hollow for point in panel.points} == {panel.how == "Estimated"}
        assert panel.text().startswith(f"{panel.how} speed-up against accuracy")
    drawn = next(panel for panel in panels if panel.how == "Estimated")
    assert all(point.label.endswith("(estimated)") for point in drawn.points)


def test_the_headline_prefers_a_measurement(mixed: Path) -> None:
    assert "estimated" not in build(collect([mixed]), title="t").headline
    (mixed / "bench.json").unlink()
    assert "estimated 2.1x faster" in build(collect([mixed]), title="t").headline


@pytest.mark.parametrize("suffix", ["html", "md", "csv"])
def test_every_format_marks_estimates(mixed: Path, tmp_path: Path, suffix: str) -> None:
    if suffix == "html":
        pytest.importorskip("matplotlib")
    file = tmp_path / f"report.{suffix}"
    report([mixed], file)
    text = file.read_text()
    if suffix == "csv":
        rows = list(csv.DictReader(text.splitlines()))
        assert [row["estimated"] for row in rows].count("true") == 2
        assert [row["estimated"] for row in rows].count("false") == 2
    elif suffix == "md":
        lines = [line for line in text.splitlines() if "jetson-orin-nano" in line]
        assert len([line for line in lines if "estimated: tensorrt on" in line]) >= 2
        assert len([line for line in lines if "2.10x" in line and ") estimated" in line]) == 1
    else:
        assert "Measured or estimated speed-up" in text
        assert "Estimated: tensorrt on jetson-orin-nano" in text
        assert "Measured: onnxruntime on cpu" in text


def test_a_report_of_estimates_alone_does_not_say_measured(mixed: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (mixed / "bench.json").unlink()
    file = tmp_path / "report.html"
    report([mixed], file)
    assert "<caption><span>Estimated speed-up beside the MACs ratio" in file.read_text()
