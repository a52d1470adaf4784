from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
import report_runs as runs
from PIL import Image

from edgeprune.errors import ResultError
from edgeprune.reporting import report


@pytest.fixture
def found(tmp_path: Path) -> Path:
    return runs.demo_runs(tmp_path / "runs")


def test_the_plots_alone_as_svg_and_png(found: Path, tmp_path: Path) -> None:
    report([found], tmp_path / "plot.svg")
    assert ElementTree.parse(tmp_path / "plot.svg").getroot().tag.endswith("svg")
    report([found], tmp_path / "plot.png")
    first = (tmp_path / "plot.png").read_bytes()
    with Image.open(io.BytesIO(first)) as image:
        assert image.width > 2000
        pixels = image.convert("L").getextrema()
    assert pixels[0] < 60
    assert pixels[1] == 255
    report([found], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes() == first


def test_every_panel_is_a_file(tmp_path: Path) -> None:
    dense, half = runs.record(), runs.record(ratio=0.5, accuracy=55.6)
    folder = tmp_path / "runs"
    runs.write_artifact(folder / "dense", dense)
    runs.write_artifact(folder / "half", half)
    for device in ("cpu", "cuda"):
        rows = [
            runs.measurement("dense", 41.3, fingerprint=dense.weights_sha256, device=device),
            runs.measurement("half", 14.2, fingerprint=half.weights_sha256, device=device),
        ]
        compared = runs.comparison("half", "dense", 2.9)
        runs.write_bench(folder / device / "bench.json", runs.bench(rows, [compared]))
    report([folder], tmp_path / "plot.svg")
    assert sorted(path.name for path in tmp_path.glob("*.svg")) == ["plot-2.svg", "plot.svg"]


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    runs.write_artifact(tmp_path / "alone")
    with pytest.raises(ResultError, match="nothing to draw"):
        report([tmp_path / "alone"], tmp_path / "plot.png")
    assert not (tmp_path / "plot.png").exists()
