"""The page in a real browser, where one is installed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import report_runs as runs
import sweep_runs as sweeps
from browser import BROWSER, Browser

from edgeprune.reporting import ReportData, report, report_sweep
from edgeprune.reporting.budget import choose, parse_budget
from edgeprune.sweeping.store import STORE_FILE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH"),
]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    chromium.problems.clear()
    return chromium


def page_of_runs(root: Path, page: Path) -> None:
    report([runs.demo_runs(root)], page, notes=["quick run " + "x" * 300])


def page_of_many_runs(root: Path, page: Path) -> None:
    report([runs.sweep_runs(root)], page, notes=["quick run " + "x" * 300])


def page_of_layers(root: Path, page: Path) -> None:
    layers = runs.per_layer((1.0, 2.0, 10.0, 20.0, 6.0, 1.0), energy=80.0)
    files = [runs.measurement("dense", 40.0, per_layer=layers), runs.measurement("other", 9.0)]
    runs.demo_runs(root)
    runs.write_bench(root / "layers" / "bench.json", runs.bench(files, []))
    report([root], page)
    page.write_text(page.read_text().replace("<details ", "<details open "))


def page_of_sweep(root: Path, page: Path) -> None:
    report_sweep(sweeps.full_sweep(root) / STORE_FILE, page, title="sweep " + "x" * 300)


@pytest.mark.parametrize("make", [page_of_runs, page_of_many_runs, page_of_layers, page_of_sweep])
def test_page_fits_loads_nothing_and_logs_no_error(tmp_path: Path, browser: Browser, make) -> None:
    make(tmp_path / "runs", tmp_path / "page.html")
    for width in (360, 1280):
        browser.open(tmp_path / "page.html", width=width)
        browser.js("for (const box of document.querySelectorAll('details')) box.open = true")
        assert browser.js("innerWidth") == width
        assert browser.js("document.documentElement.scrollWidth") <= width
        # The narrow drawing on a narrow screen, the wide one on a wide screen.
        image = browser.js("document.querySelector('img').naturalWidth")
        assert image > 0
        assert (image < 600) == (width < 600)
    assert browser.problems == []


def column(browser: Browser, number: int) -> list[str]:
    """Return the values in a column of the table of results, as the script reads them."""
    cell = "cell.dataset.value ?? cell.textContent.trim()"
    rows = "[...document.querySelectorAll('tr[data-groups]')]"
    found = browser.js(f"{rows}.map(row => row.cells[{number}]).map(cell => {cell})")
    return [str(value) for value in found]


def sorted_by(browser: Browser) -> list[list[str]]:
    return list(
        browser.js(
            "[...document.querySelectorAll('[aria-sort]')]"
            ".map(head => [head.textContent, head.getAttribute('aria-sort')])"
        )
    )


def head(number: int) -> str:
    return f"section[aria-labelledby=results] thead th:nth-child({number + 1}) > button"


def test_a_heading_sorts_by_the_true_figure(tmp_path: Path, browser: Browser) -> None:
    root = runs.sweep_runs(tmp_path / "runs")
    runs.write_bench(root / "z" / "bench.json", runs.bench([runs.measurement("lone", 1000.0)], []))
    data = report([root], tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    original = column(browser, 0)
    latencies = sorted(row.latency_p50_ms for row in data.rows)
    browser.point_at(head(6), click=True)
    assert [float(value) for value in column(browser, 6)] == latencies
    assert sorted_by(browser) == [["Latency p50, ms", "ascending"]]
    assert browser.js("document.getElementById('status').textContent").startswith("Sorted by Lat")
    browser.press("Enter")  # the heading has the focus
    assert [float(value) for value in column(browser, 6)] == latencies[::-1]
    assert sorted_by(browser) == [["Latency p50, ms", "descending"]]
    # All peaks of memory are alike: the order stays as it is, up and down.
    before = column(browser, 0)
    assert len(set(column(browser, 7))) == 1
    for _ in range(2):
        browser.point_at(head(7), click=True)
        assert column(browser, 0) == before
    # Drops, with what has none last, up and down; the others keep the order that they had.
    drops = [float(value) for value in column(browser, 4) if value]
    assert len(drops) < len(data.rows)
    nulls = [
        name for name, drop in zip(column(browser, 0), column(browser, 4), strict=True) if not drop
    ]
    for order in (sorted(drops), sorted(drops, reverse=True)):
        browser.point_at(head(4), click=True)
        values = column(browser, 4)
        assert [float(value) for value in values if value] == order
        assert values[len(drops) :] == [""] * len(nulls)
        assert column(browser, 0)[len(drops) :] == nulls
    browser.press("Enter")
    assert column(browser, 0) == original
    assert sorted_by(browser) == []
    browser.point_at(head(0), click=True)
    assert column(browser, 0) == sorted(original)
    assert browser.problems == []


def visible(browser: Browser, selector: str) -> bool:
    style = f"getComputedStyle(document.querySelector({json.dumps(selector)}))"
    return bool(browser.js(f"{style}.visibility !== 'hidden' && {style}.display !== 'none'"))


def focused(browser: Browser, what: str) -> str:
    return str(browser.js(f"document.activeElement.{what}"))


def test_points_tell_their_figures_to_keyboard_and_mouse(tmp_path: Path, browser: Browser) -> None:
    page_of_runs(tmp_path / "runs", tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    first, second = (f".point:nth-child({number}) .tip" for number in (1, 2))
    assert not visible(browser, first)
    browser.press("Tab")
    assert focused(browser, "className") == "point"
    label = focused(browser, "getAttribute('aria-label')")
    assert label.startswith("dense. Measured speed-up over dense: 1.00x. Accuracy on microsoft")
    assert visible(browser, first)
    assert browser.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("ArrowRight")
    assert (visible(browser, first), visible(browser, second)) == (False, True)
    assert "2.91x (2.82 to 3.00)" in browser.js(f"document.querySelector('{second}').textContent")
    browser.press("Escape")
    assert not visible(browser, second)
    browser.press("ArrowRight")
    assert visible(browser, first)
    # Tab goes on, past the other points.
    browser.press("Tab")
    assert focused(browser, "className") != "point"
    browser.point_at(".point:nth-child(2)")
    assert visible(browser, second)
    box = browser.js(
        f"(({{left, right}}) => [left, right])(document.querySelector('{second}')"
        ".getBoundingClientRect())"
    )
    assert 0 <= box[0] < box[1] <= 1280


def test_points_tell_their_figures_without_a_script(tmp_path: Path, browser: Browser) -> None:
    page_of_runs(tmp_path / "runs", tmp_path / "page.html")
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(tmp_path / "page.html")
        browser.press("Tab")
        assert focused(browser, "className") == "point"
        assert visible(browser, ".point:focus .tip")
        assert not visible(browser, "#limits")
        assert browser.js("document.querySelectorAll('th button').length") == 0
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_a_model_is_highlighted_everywhere_and_alone(tmp_path: Path, browser: Browser) -> None:
    page_of_layers(tmp_path / "runs", tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    row = "tr[data-groups][data-model=pruned]"
    pressed = "[...document.querySelectorAll('[aria-pressed=true]')].map(e => e.dataset.model)"
    assert browser.js(pressed) == []
    browser.point_at(f"{row} .pick", click=True)
    found = browser.js(pressed)
    assert set(found) == {"pruned"}
    assert len(found) > 2  # results, domains, plot
    assert (
        browser.js("document.querySelector('.point[aria-pressed=true]').dataset.model") == "pruned"
    )
    said = "pruned is highlighted in plots and tables"
    assert browser.js("document.getElementById('status').textContent") == said
    assert visible(browser, "#picked")
    other = "tr[data-groups][data-model=dense]"
    browser.point_at("#only", click=True)
    assert (visible(browser, row), visible(browser, other)) == (True, False)
    browser.point_at("#clear", click=True)
    assert (visible(browser, other), visible(browser, "#picked")) == (True, False)
    assert browser.js(pressed) == []
    assert focused(browser, "dataset.model") == "pruned"
    # A point does the same, by keyboard.
    browser.js("document.querySelector('.point').focus()")
    browser.press("Enter")
    assert set(browser.js(pressed)) == {"dense"}
    browser.press("Enter")
    assert browser.js(pressed) == []
    assert browser.problems == []


def page_of_choices(root: Path, page: Path) -> ReportData:
    """Ties, models without accuracy, percentile or measurement, two settings, two machines."""
    for name, ratio, accuracy in (
        ("dense", 0.0, 58.0),
        ("half", 0.5, 56.0),
        ("twin", 0.5, 56.0),
        ("small", 0.9, 30.0),
        ("unmeasured", 0.4, 57.0),
    ):
        metric = "l1" if name == "twin" else "hessian"
        runs.write_artifact(root / name, ratio=ratio, accuracy=accuracy, metric=metric)
    few = runs.measurement("small", 3.0).latency_ms.model_copy(update={"p95": None})
    files = [
        runs.measurement("dense", 30.0),
        runs.measurement("half", 10.0),
        runs.measurement("twin", 9.0),
        runs.measurement("small", 3.0, latency_ms=few),
        runs.measurement("stranger", 2.0),
        runs.measurement("dense", 40.0, batch=8),
        runs.measurement("half", 15.0, batch=8),
    ]
    runs.write_bench(root / "one" / "bench.json", runs.bench(files, []))
    far = [runs.measurement("dense", 20.0), runs.measurement("half", 20.0)]
    runs.write_bench(root / "two" / "bench.json", runs.bench(far, []))
    return report([root], page)


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReportData, Path]:
    root = tmp_path_factory.mktemp("choices")
    return page_of_choices(root / "runs", root / "page.html"), root / "page.html"


@pytest.mark.parametrize(
    ("figure", "most", "least"),
    [
        ("p95", "20", ""),
        ("p50", "3", ""),  # exactly that of the smallest
        ("p95", "0.5", ""),
        ("p95", "", "50"),
        ("p95", "", "56"),
        ("p95", "25", "57.5"),
        ("p50", "10", ""),
        ("p50", "4", "10"),
        ("p99", "1000", "0"),
    ],
)
def test_limits_choose_as_the_command_does(
    choices: tuple[ReportData, Path], browser: Browser, figure: str, most: str, least: str
) -> None:
    data, page = choices
    budgets = [f"{figure}<={most}ms"] if most else []
    budgets += [f"accuracy>={least}"] if least else []
    expected = choose(data.rows, [parse_budget(text) for text in budgets])
    browser.open(page)
    browser.point_at(head(6), click=True)  # the order of the rows must not matter
    browser.js(f"document.getElementById('figure').value = '{figure}'")
    for field, value in (("most", most), ("least", least)):
        if value:
            browser.js(f"document.getElementById('{field}').focus()")
            browser.type(value)
    lines = browser.js("[...document.querySelectorAll('#best li')].map(e => e.textContent)")
    assert len(lines) == len(expected) == 3
    for line, choice in zip(lines, expected, strict=True):
        assert line.startswith(f"{choice.setting}: ")
        said = line.removeprefix(f"{choice.setting}: ")
        best = re.match(r"(\S+) is (the .*) of those within", said)
        assert (best and best[1]) == choice.label, (line, choice.sentence)
        assert best is None or best[2] == choice.rule
        open_ = re.search(r"for want of figures: (.*)\.$", said)
        assert sorted(open_[1].split(", ") if open_ else []) == sorted(choice.not_judged)
    tagged = browser.js(
        "[...document.querySelectorAll('.tag.best')].map(e => e.closest('tr').dataset.model)"
    )
    assert sorted(tagged) == sorted(choice.label for choice in expected if choice.label)
    browser.js(
        "document.getElementById('most').value = document.getElementById('least').value = ''"
    )
    browser.js("document.getElementById('most').dispatchEvent(new Event('input', {bubbles: true}))")
    assert browser.js("document.querySelectorAll('.tag.best').length") == 0
    assert browser.problems == []
