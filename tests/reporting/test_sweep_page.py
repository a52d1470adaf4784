from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import sweep_runs as sweeps

from edgeprune.errors import UnavailableError
from edgeprune.reporting import report_sweep
from edgeprune.reporting.canvas import DARK, LIGHT, NARROW, WIDE
from edgeprune.reporting.plot import draw
from edgeprune.reporting.sweep.curves import all_curves, draw_curves
from edgeprune.reporting.sweep.document import SweepReport
from edgeprune.reporting.sweep.front import fronts
from edgeprune.reporting.sweep.write import build
from edgeprune.sweeping.store import STORE_FILE, read_store


def of(root: Path) -> SweepReport:
    return build(read_store(root / STORE_FILE), {})


def small_keys() -> list:
    return sweeps.grid(models=["ViT-S"], metrics=["hessian"], ratios=[0.5, 0.75], seeds=[0, 1])


def timed_sweep(root: Path) -> Path:
    keys = sweeps.grid(metrics=["hessian"], seeds=[0, 1])
    sweeps.write_store(root, keys)
    sweeps.add_timings(root, keys)
    return root


def test_page_is_whole_and_refers_to_nothing_outside(tmp_path: Path) -> None:
    root = timed_sweep(tmp_path / "sweep")
    report_sweep(root / STORE_FILE, tmp_path / "a.html")
    report_sweep(root / STORE_FILE, tmp_path / "b.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page == (tmp_path / "b.html").read_text(encoding="utf-8")
    attributes = re.findall(r'\b(?:src|srcset|href|action|data)="([^"]*)"', page)
    assert attributes
    assert all(value.startswith("data:") for value in attributes)
    assert page.count("<script") == 1
    assert "@import" not in page
    assert page.count("<tr") == page.count("</tr>")
    assert page.count("<figure>") == 3
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    named = re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', page)
    assert set(named) <= set(ids)
    # What scrolls can be reached by keyboard.
    assert page.count('class="scroll"') == page.count('class="scroll" tabindex="0"')


def test_hostile_text_is_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\x1b[31m$x^2$|`\u202e"
    keys = [
        key.model_copy(update={"model": evil, "metric": key.metric and evil})
        for key in small_keys()
    ]
    root = sweeps.write_store(
        tmp_path,
        keys,
        name=evil,
        states=lambda key: "failed" if key.ratio == 0.75 else "done",
    )
    report_sweep(root / STORE_FILE, tmp_path / "r.html", title=evil)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "loss is nan_at step 40 (100 % of &lt;runs&gt; &amp; more)" in page


def test_front_is_of_measured_speed_where_there_is_any(tmp_path: Path) -> None:
    keys = small_keys()
    root = sweeps.write_store(tmp_path, keys)
    (front,) = fronts(of(root))
    assert front.x_title == "MACs ratio, not a measured speed-up (×)"
    assert front.setting is None
    sweeps.add_timings(root, [key for key in keys if key.ratio != 0.75], batches=(8, 1))
    (front,) = fronts(of(root))
    assert front.x_title == "Measured speed-up over dense (×)"
    assert front.setting == "onnxruntime on cpu, fp32, 1 thread, batch 1"
    assert [(p.label, p.x) for p in front.points] == [("dense", 1.0), ("50 %", 3.2)]
    assert front.not_drawn == ("ViT-S, 75 % hessian (not timed)",)
    assert front.points[1].x_range == pytest.approx((3.2 * 0.97, 3.2 * 1.03))
    score = of(root).rows[1].average.score
    assert score is not None
    assert score.se is not None
    assert front.points[1].y_range == (score.value - score.se, score.value + score.se)


def test_rows_without_every_target_are_not_drawn(tmp_path: Path) -> None:
    def state(key: object) -> str:
        lost = (key.ratio, key.target) == (0.75, "photo")  # type: ignore[attr-defined]
        late = (key.ratio, key.target, key.seed) == (0.5, "photo", 1)  # type: ignore[attr-defined]
        return "failed" if lost else "running" if late else "done"

    data = of(sweeps.write_store(tmp_path, small_keys(), states=state))
    (front,) = fronts(data)
    assert [point.label for point in front.points] == ["dense", "50 %"]
    assert front.not_drawn == ("ViT-S, 75 % hessian (3 of 4 targets)",)
    assert front.partial == ("ViT-S, 50 % hessian (1 of 2)",)
    (curves,) = all_curves(data)
    assert [curve.name for curve in curves.curves] == ["dense", "50 % hessian"]


def test_a_crowded_plot_labels_its_front_alone(tmp_path: Path) -> None:
    models = [f"model {index}" for index in range(13)]
    keys = sweeps.grid(models, metrics=["hessian"], ratios=[0.5], targets=["photo"], seeds=[0])
    (front,) = fronts(of(sweeps.write_store(tmp_path, keys)))
    assert len(front.points) == 26
    assert [point for point in front.points if point.labelled] == sorted(
        front.front(), key=front.points.index
    )


def test_a_page_of_a_sweep_that_has_just_begun(tmp_path: Path) -> None:
    root = sweeps.write_store(tmp_path, small_keys(), states=lambda key: "waiting")
    report_sweep(root / STORE_FILE, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "0 of 24 trials done, 24 waiting; figures are of those done." in page
    assert "No row has been scored on every target yet." in page
    assert "Nothing was timed." in page


@pytest.mark.parametrize("shape", [WIDE, NARROW])
@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_drawings_are_well_formed(tmp_path: Path, theme, shape) -> None:
    keys = sweeps.grid(models=["$x_1$ <&>"], metrics=["hessian", "l1"], ratios=[0.5, 0.95])
    data = of(sweeps.write_store(tmp_path, keys))
    (front,) = fronts(data)
    assert front.is_wide  # 95 % have hundreds of times fewer MACs
    (curves,) = all_curves(data)
    assert [(curve.color, curve.style) for curve in curves.curves] == [
        (0, 0),
        (1, 0),
        (1, 1),
        (2, 0),
        (2, 1),
    ]
    for drawing in (draw(front, theme, shape), draw_curves(curves, theme, shape)):
        svg = drawing.svg()
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
        assert svg.count("http") == 1


class Tables(HTMLParser):
    """Counts the cells of every row of every table."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[int]] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append(0)
        elif tag in ("td", "th"):
            self.tables[-1][-1] += 1


def test_every_row_has_all_its_cells(tmp_path: Path) -> None:
    root = timed_sweep(tmp_path / "sweep")
    report_sweep(root / STORE_FILE, tmp_path / "r.html")
    parser = Tables()
    parser.feed((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert [len(table) for table in parser.tables] == [9, 9, 9, 65]
    assert all(len(set(table)) == 1 for table in parser.tables)


def test_page_without_matplotlib_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    root = sweeps.write_store(tmp_path, small_keys())
    with pytest.raises(UnavailableError) as caught:
        report_sweep(root / STORE_FILE, tmp_path / "r.html")
    assert caught.value.hint == "pip install 'edgeprune[report]'"
    assert not (tmp_path / "r.html").exists()
