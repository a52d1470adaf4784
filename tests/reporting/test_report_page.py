"""What the page carries for its script, and that it needs none to be read."""

from __future__ import annotations

import hashlib
import io
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

import pytest
import report_runs as runs
import sweep_runs as sweeps
from PIL import Image, ImageColor

from edgeprune.reporting import report, report_sweep
from edgeprune.reporting.canvas import LIGHT, NARROW, WIDE
from edgeprune.reporting.collect import collect
from edgeprune.reporting.page import html
from edgeprune.reporting.panels import build_panels
from edgeprune.reporting.plot import draw
from edgeprune.reporting.write import build
from edgeprune.sweeping.store import STORE_FILE

Attributes = dict[str, str | None]


class Elements(HTMLParser):
    """The attributes of every element, and of the cells of every table's body by row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.all: list[tuple[str, Attributes]] = []
        self.rows: list[tuple[Attributes, list[Attributes]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append((dict(attrs), []))
        elif tag in ("th", "td"):
            self.rows[-1][1].append(dict(attrs))

    def named(self, tag: str) -> list[Attributes]:
        return [attributes for name, attributes in self.all if name == tag]


def page_of(*paths: Path) -> str:
    return html(build(collect(paths), title="title"))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """One page of runs, one of a sweep."""
    root = tmp_path_factory.mktemp("pages")
    report([runs.sweep_runs(root / "runs")], root / "runs.html")
    report_sweep(sweeps.full_sweep(root / "sweep") / STORE_FILE, root / "sweep.html")
    return [(root / f"{name}.html").read_text("utf-8") for name in ("runs", "sweep")]


def test_the_policy_knows_the_only_script_and_lets_nothing_else_run(pages: list[str]) -> None:
    for page in pages:
        (script,) = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
        digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
        (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
        assert "default-src 'none'" in policy
        assert re.findall(r"script-src ([^;]*)", policy) == [f"'sha256-{digest}'"]
        assert not re.search(r"<[^>]* on[a-z]+=", page)
        assert not re.search(r"innerHTML|eval\(|insertAdjacent|fetch\(", script)


def test_without_a_script_nothing_dead_is_shown_and_nothing_is_hidden(pages: list[str]) -> None:
    for page in pages:
        hidden = r'<div id="(?:limits|picked)" class="tools"[^>]* hidden>.*?</div>'
        rest, tools = re.subn(hidden, "", page, flags=re.DOTALL)
        assert tools in (1, 2)
        found = Elements(rest)
        assert not found.named("input")
        assert not found.named("select")
        assert {each["class"] for each in found.named("button")} == {"point"}
        assert not [tag for tag, each in found.all if "hidden" in each and tag != "ul"]


def test_cells_are_sorted_by_their_figure_not_by_their_text(tmp_path: Path) -> None:
    data = build(collect([runs.sweep_runs(tmp_path)]), title="title")
    rows = [(facts, cells) for facts, cells in Elements(html(data)).rows if "data-groups" in facts]
    assert len(rows) == len(data.rows)
    for row, (facts, cells) in zip(data.rows, rows, strict=True):
        figures = (row.speedup, row.macs_ratio, row.target_accuracy, row.drop_points)
        values = [cell.get("data-value") for cell in cells[1:5]]
        assert values == ["" if figure is None else str(figure) for figure in figures]
        costs = (row.latency_p50_ms, row.peak_rss_mb, row.params, row.macs)
        assert [cell["data-value"] for cell in cells[6:10]] == [str(cost) for cost in costs]
        assert (facts["data-model"], facts["data-p95"]) == (row.label, str(row.latency_p95_ms))


def test_what_is_not_known_has_an_empty_value(tmp_path: Path) -> None:
    runs.write_artifact(tmp_path / "pruned", ratio=0.5, accuracy=50.0)
    runs.write_bench(tmp_path / "bench.json", runs.bench([runs.measurement("other", 9.0)], []))
    pruned, other = [each for each in Elements(page_of(tmp_path)).rows if "data-groups" in each[0]]
    assert [cell.get("data-value") for cell in pruned[1][1:4]] == [
        "",
        pruned[1][2]["data-value"],
        "50.0",
    ]
    assert other[1][3]["data-value"] == ""
    # The setting is text, but where nothing was measured there is none.
    assert [each[1][-1].get("data-value") for each in (pruned, other)] == ["", None]


def test_every_figure_of_a_sweep_has_its_value(tmp_path: Path) -> None:
    store = sweeps.full_sweep(tmp_path / "sweep") / STORE_FILE
    data = report_sweep(store, tmp_path / "r.html")
    found = Elements((tmp_path / "r.html").read_text("utf-8"))
    rows = [cells for facts, cells in found.rows if "data-model" in facts]
    for row, cells in zip(data.rows, rows, strict=False):
        first = row.targets[data.targets[0]].score
        assert first is not None
        assert cells[3]["data-value"] == str(first.value)
        assert cells[2]["data-value"] == ("" if row.ratio is None else str(row.ratio))
        assert "data-value" not in cells[1]


@pytest.mark.parametrize("shape", [WIDE, NARROW])
def test_marks_stand_where_the_points_are_drawn(tmp_path: Path, shape) -> None:
    data = build(collect([runs.demo_runs(tmp_path)]), title="title")
    (panel,), _ = build_panels(data.rows)
    drawing = draw(panel, LIGHT, shape)
    with Image.open(io.BytesIO(drawing.png())) as opened:
        image = opened.convert("RGB")
    for mark, (across, down) in drawing.marks:
        pixel = image.getpixel((int(across / 100 * image.width), int(down / 100 * image.height)))
        assert pixel == ImageColor.getrgb(LIGHT.series[0]), mark
    assert [mark.model for mark, _ in drawing.marks] == ["dense", "pruned"]
    assert drawing.marks[1][0].figures[0] == "Measured speed-up over dense: 2.91x (2.82 to 3.00)"


def test_every_point_has_a_name_and_a_place_in_both_drawings(pages: list[str]) -> None:
    for page, count in zip(pages, (12, None), strict=True):
        points = [e for e in Elements(page).named("button") if e.get("class") == "point"]
        assert points
        assert count is None or len(points) == count
        for point in points:
            assert str(point["aria-label"]).startswith(f"{point['data-model']}. ")
            assert "%" in str(point["aria-label"])
            places = re.findall(r"--[wn][xy]:([0-9.]+)", str(point["style"]))
            assert len(places) == 4
            assert all(0 < float(place) < 100 for place in places)


def test_rows_name_the_groups_in_which_a_budget_judges_them(tmp_path: Path) -> None:
    runs.write_artifact(tmp_path / "unmeasured", ratio=0.5)
    files = [runs.measurement("a", 9.0), runs.measurement("b", 9.0, batch=8)]
    runs.write_bench(tmp_path / "bench.json", runs.bench(files, []))
    page = page_of(tmp_path)
    groups = {
        f["data-model"]: f["data-groups"] for f, _ in Elements(page).rows if "data-groups" in f
    }
    assert groups == {"unmeasured": "0 1", "a": "0", "b": "1"}
    assert '<li data-group="1">onnxruntime on cpu, fp32, batch 8, 1 thread: <span>' in page


def test_a_name_cannot_leave_its_attribute(tmp_path: Path) -> None:
    evil = 'x" onfocus="alert(1)" style="--wx:0"><img src=x onerror=alert(2)>'
    files = [runs.measurement("dense", 9.0), runs.measurement(evil, 5.0)]
    made = runs.bench(files, [runs.comparison(evil, "dense", 1.8)])
    dense, pruned = runs.record(), runs.record(ratio=0.5, accuracy=50.0)
    runs.write_artifact(tmp_path / "dense", dense)
    runs.write_artifact(tmp_path / evil.replace("/", ""), pruned)
    runs.write_bench(tmp_path / "bench.json", made)
    found = Elements(page_of(tmp_path))
    points = [each for each in found.named("button") if each.get("class") == "point"]
    assert [point["data-model"] for point in points] == ["dense", evil]
    assert not [name for _, each in found.all for name in each if name.startswith("on")]
    assert len(found.named("img")) == 1
