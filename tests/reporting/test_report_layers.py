"""Time by layer in a report: measured and estimated, apart from each other."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import report_runs as runs

from edgeprune.errors import ResultError
from edgeprune.reporting import report
from edgeprune.reporting.collect import collect
from edgeprune.reporting.layers import kind_tables
from edgeprune.reporting.write import build
from edgeprune.schema import EstimatedLayer


def estimated(name: str, time: float) -> EstimatedLayer:
    return EstimatedLayer(name=name, kind="product", macs=1000, latency_ms=time, bound="compute")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = runs.demo_runs(tmp_path / "runs")
    dense, pruned = runs.record(), runs.record(ratio=0.5, accuracy=55.6)
    slow = runs.per_layer((1.0, 2.0, 10.0, 20.0, 6.0, 1.0), energy=80.0)
    fast = runs.per_layer((1.0, 1.0, 4.0, 3.0, 1.0))
    files = [
        runs.measurement("a", 40.0, fingerprint=dense.weights_sha256, per_layer=slow),
        runs.measurement("b", 10.0, fingerprint=pruned.weights_sha256, per_layer=fast),
        runs.measurement("c", 10.0),
    ]
    guess = [
        estimated("patch_embed.proj", 1.0),
        estimated("blocks.0.attn.qkv", 2.0),
        estimated("blocks.0.attn", 1.0),
        estimated("blocks.0.norm1", 0.5),
        estimated("head", 0.5),
    ]
    facts = {"estimated": True, "runtime": "tensorrt", "device": "jetson-orin-nano", "samples": 0}
    rows = [runs.measurement("guess", 5.0, layers=guess, **facts)]
    runs.write_bench(root / "bench.json", runs.bench(files, []))
    runs.write_bench(root / "estimate" / "bench.json", runs.bench(rows, []))
    return root


def test_models_of_one_setting_stand_side_by_side_on_one_scale(root: Path) -> None:
    data = build(collect([root]), title="t")
    assert [(model.label, model.estimated) for model in data.layers] == [
        ("dense", False),
        ("pruned", False),
        ("guess", True),
    ]
    measured, estimate = kind_tables(data.layers)
    assert measured.title == "Measured: onnxruntime on cpu, fp32, batch 1, 1 thread"
    assert measured.kinds == ["embedding", "blocks.*", "blocks.*.attn", "head", "other"]
    dense, pruned = measured.lines
    assert dense.times == [1.0, 2.0, 30.0, 6.0, 1.0]
    assert pruned.times == [1.0, 1.0, 7.0, 1.0, None]
    assert sum(part.width for part in dense.segments) == pytest.approx(100)
    assert sum(part.width for part in pruned.segments) == pytest.approx(25)
    assert pruned.segments[2].start == pytest.approx(5.0)
    assert estimate.title.startswith("Estimated: tensorrt on jetson-orin-nano")
    assert estimate.kinds == ["embedding", "blocks.*.attn", "blocks.*", "head"]
    assert estimate.lines[0].times == [1.0, 3.0, 0.5, 0.5]
    attention = data.layers[2].layers[1]
    assert (attention.name, attention.share, attention.macs) == ("blocks.0.attn", 0.6, 2000)
    assert attention.parameter_bytes is attention.energy_by_time_mj is None


def test_every_format_but_csv_shows_them(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for suffix in ("html", "md", "json", "csv"):
        report([root], tmp_path / f"r.{suffix}")
    page, text = (tmp_path / "r.html").read_text(), (tmp_path / "r.md").read_text()
    section = page[page.index('<h2 id="layers">') : page.index('<h2 id="widths">')]
    assert section.count('<svg class="stack"') == 3
    assert section.count("<details ") == 3
    assert "Energy by time, mJ" in section
    assert "302 kB" in section
    assert "768 B" in section
    assert section.count('<span class="tag">estimated</span>') == 2
    assert "no meter counts layers" in page
    assert "| dense | 40.0 | 1.00 | 2.00 | 30.0 | 6.00 | 1.00 |" in text
    assert "| pruned | 10.0 | 1.00 | 1.00 | 7.00 | 1.00 | none |" in text
    assert "Estimated: tensorrt on jetson-orin-nano" in text
    found = json.loads((tmp_path / "r.json").read_text())["layers"]
    assert found[0]["layers"][3]["energy_by_time_mj"] == pytest.approx(40.0)
    assert "blocks" not in (tmp_path / "r.csv").read_text()


def test_a_report_without_layers_says_nothing_of_them(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report([runs.demo_runs(tmp_path / "runs")], tmp_path / "r.html")
    assert "Time by layer" not in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("times", [(1.0, -0.1), (-1.0, -1.0)])
def test_a_layer_that_takes_less_than_nothing_is_damage(
    tmp_path: Path, times: tuple[float, ...]
) -> None:
    for index, changes in enumerate(
        (
            {"per_layer": runs.per_layer(times)},
            {"layers": [estimated("head", time) for time in times], "estimated": True},
        )
    ):
        rows = [runs.measurement("a", 1.0, **changes)]
        path = runs.write_bench(tmp_path / f"{index}.json", runs.bench(rows, []))
        with pytest.raises(ResultError, match=r"layers is -.*must be above 0"):
            collect([path])


@pytest.mark.parametrize("share", [0.0, -0.5])
def test_shares_that_are_none_are_damage(tmp_path: Path, share: float) -> None:
    found = runs.per_layer((1.0, 2.0))
    layers = [layer.model_copy(update={"share": share}) for layer in found.layers]
    row = runs.measurement("a", 1.0, per_layer=found.model_copy(update={"layers": layers}))
    path = runs.write_bench(tmp_path / "bench.json", runs.bench([row], []))
    with pytest.raises(ResultError, match=r"per_layer.layers.share is .*must be above 0"):
        collect([path])


def test_a_layer_may_take_nothing(tmp_path: Path) -> None:
    rows = [runs.measurement("a", 1.0, per_layer=runs.per_layer((1.0, 0.0)))]
    path = runs.write_bench(tmp_path / "bench.json", runs.bench(rows, []))
    (found,) = build(collect([path]), title="t").layers
    assert [layer.share for layer in found.layers] == [1.0, 0.0]
