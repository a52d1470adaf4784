"""The page in a real browser, where one is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import report_runs as runs
import sweep_runs as sweeps

from edgeprune.reporting import report, report_sweep
from edgeprune.sweeping.store import STORE_FILE

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH"),
]

# Measures the page inside a frame of the given width and leaves the figures in the title.
FRAME = """<!DOCTYPE html><title>waiting</title>
<iframe id="page" src="page.html" style="border:0;width:{width}px;height:900px"></iframe>
<script>
document.getElementById("page").onload = async event => {{
  const view = event.target.contentWindow, page = view.document;
  const image = page.querySelector("img");
  await image.decode();
  document.title = [
    page.documentElement.scrollWidth, view.innerWidth, image.naturalWidth,
    view.performance.getEntriesByType("resource").filter(e => !e.name.startsWith("data:")).length,
  ].join(" ");
}};
</script>"""


@pytest.fixture
def browse(tmp_path: Path):
    def run(page: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                str(BROWSER),
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
                *("--no-first-run", "--disable-background-networking", "--disable-sync"),
                *("--disable-component-update", "--allow-file-access-from-files"),
                *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=8000"),
                f"--user-data-dir={tmp_path / 'profile'}",
                "--dump-dom",
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    return run


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
    page.write_text(page.read_text().replace("<details>", "<details open>"))


def page_of_sweep(root: Path, page: Path) -> None:
    report_sweep(sweeps.full_sweep(root) / STORE_FILE, page, title="sweep " + "x" * 300)


@pytest.mark.parametrize("make", [page_of_runs, page_of_many_runs, page_of_layers, page_of_sweep])
@pytest.mark.parametrize("width", [360, 1280])
def test_page_fits_loads_nothing_and_logs_no_error(tmp_path: Path, browse, make, width) -> None:
    make(tmp_path / "runs", tmp_path / "page.html")
    (tmp_path / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    done = browse(tmp_path / "frame.html")
    found = re.search(r"<title>(\d+) (\d+) (\d+) (\d+)</title>", done.stdout)
    assert found, done.stderr[-500:]
    scroll, view, image, requests = map(int, found.groups())
    assert view == width
    assert scroll <= view
    # The narrow drawing on a narrow screen, the wide one on a wide screen.
    assert (image < 600) == (width < 600)
    assert image > 0
    assert requests == 0
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
