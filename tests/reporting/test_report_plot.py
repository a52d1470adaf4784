from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.reporting.canvas import DARK, LIGHT, NARROW, WIDE
from edgeprune.reporting.document import ReportRow
from edgeprune.reporting.panels import build_panels
from edgeprune.reporting.placement import Box, place
from edgeprune.reporting.plot import draw


def row(label: str, speedup: float, accuracy: float, **changes: object) -> ReportRow:
    facts = {
        "label": label,
        "short": label,
        "model": "vit",
        "is_dense": speedup == 1.0,
        "baseline": "dense",
        "speedup": speedup,
        "target_accuracy": accuracy,
        "dataset": "emoji",
        "target": "microsoft",
        "split": "group",
        "runtime": "torch",
        "device": "cpu",
        "precision": "fp32",
        "batch": 1,
        "threads": 1,
    }
    return ReportRow.model_validate({**facts, **changes})


def test_front_holds_what_no_other_beats() -> None:
    rows = [row("dense", 1.0, 80.0), row("a", 2.0, 78.0), row("bad", 1.5, 70.0), row("b", 3, 60.0)]
    (panel,), notes = build_panels(rows)
    assert [point.label for point in panel.front()] == ["dense", "a", "b"]
    assert notes == []


def test_targets_and_settings_are_never_mixed() -> None:
    rows = [
        row("dense", 1.0, 80.0),
        row("a", 2.0, 78.0, target="apple"),
        row("b", 2.0, 78.0, threads=2),
        row("c", 2.0, 78.0, batch=8),
    ]
    panels, notes = build_panels(rows)
    assert [[point.label for point in panel.points] for panel in panels] == [
        ["dense"],
        ["a"],
        ["b"],
    ]
    assert len(notes) == 2


@pytest.mark.parametrize("shape", [WIDE, NARROW])
@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_drawing_is_well_formed_without_date_or_outside_reference(theme, shape) -> None:
    rows = [
        row("dense", 1.0, 80.0, estimated=True),
        row("$x_1$ <&> \u4e2d" * 9, 2.0, 78.0, estimated=True),
    ]
    (panel,), _ = build_panels(rows)
    svg = draw(panel, theme, shape).svg()
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert svg.count("http") == 1
    ids = {element.get("id") for element in root.iter() if element.get("id")}
    used = {e.get("href") for e in root.iter() if e.get("href")}
    assert {name.removeprefix("#") for name in used} <= ids


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_every_text_colour_has_contrast_aa(theme) -> None:
    for color in (theme.text, theme.muted, *theme.series):
        dark, light = sorted([luminance(color), luminance(theme.background)])
        assert (light + 0.05) / (dark + 0.05) >= 4.5, color


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(40, 360), st.floats(40, 260)), min_size=1, max_size=10))
def test_labels_keep_inside_and_off_one_another(points: list[tuple[float, float]]) -> None:
    frame = Box(0, 0, 400, 300)
    marks = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    boxes = [p.box for p in place(points, [(40.0, 12.0)] * len(points), marks, frame)]
    assert all(box.outside(frame) == 0 for box in boxes)
    assert all(a.overlap(b) == 0 for a, b in combinations(boxes, 2))
