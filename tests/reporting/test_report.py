from __future__ import annotations

import csv
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import report_runs as runs
from prediction_files import predictions

from edgeprune.drop import compare
from edgeprune.errors import ArtifactError, OutputError, ResultError, UnavailableError, UsageError
from edgeprune.predictions import PREDICTIONS_FILE, Predictions, to_bytes, write_predictions
from edgeprune.reporting import report
from edgeprune.reporting.collect import collect
from edgeprune.reporting.page import html
from edgeprune.reporting.tables import markdown
from edgeprune.reporting.wording import differences
from edgeprune.reporting.write import build
from edgeprune.schema import Measurement, Memory, SplitFacts
from edgeprune.training.evaluation import dg_result


def of(*paths: Path):
    return build(collect(paths), title="title")


def test_demo_has_one_headline_and_every_figure_from_the_files(tmp_path: Path) -> None:
    data = of(runs.demo_runs(tmp_path))
    assert data.headline == "50 % pruned: 2.9x faster at -3.1 points on microsoft (unseen)"
    assert data.headline_rule is None
    assert data.warnings == []
    dense, pruned = data.rows
    assert (dense.is_baseline, dense.speedup, dense.speedup_ci95) == (True, 1.0, None)
    assert (pruned.speedup, pruned.baseline) == (2.91, "dense")
    assert pruned.drop_points == pytest.approx(55.6 - 58.7)
    assert pruned.macs_ratio == pytest.approx(1_105_000_000 / int(1_105_000_000 * 0.5**1.9))
    heads = [w for w in data.models[1].layers if (w.name, w.dim) == ("blocks.0.attn", "heads")]
    assert [(w.before, w.after) for w in heads] == [(6, 3)]


def test_sweep_says_by_which_rule_the_headline_was_chosen(tmp_path: Path) -> None:
    data = of(runs.sweep_runs(tmp_path))
    assert data.headline.startswith("deit_base_patch16_224, 50 % pruned: 3.6x faster at -2.9")
    assert data.headline_rule is not None
    assert "One of 9" in data.headline_rule
    assert [row.label for row in data.rows[:4]] == ["beit-dense", "beit-50", "beit-75", "beit-95"]


def test_a_headline_calls_nothing_the_fastest_that_was_not_timed(tmp_path: Path) -> None:
    runs.write_artifact(tmp_path / "dense", accuracy=58.0)
    runs.write_artifact(tmp_path / "half", ratio=0.5, accuracy=57.5)
    runs.write_artifact(tmp_path / "quarter", ratio=0.75, accuracy=57.0)
    data = of(tmp_path)
    assert data.headline_rule is not None
    assert "half" in data.headline_rule
    assert "the one that loses least; none was timed" in data.headline_rule


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    root = runs.demo_runs(tmp_path / "runs")
    report([root], tmp_path / "a.html")
    report([root], tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_page_is_small_and_refers_to_nothing_outside(tmp_path: Path) -> None:
    report([runs.sweep_runs(tmp_path / "runs")], tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 500_000
    attributes = re.findall(r'\b(?:src|srcset|href|action|data)="([^"]*)"', page)
    assert attributes
    assert all(value.startswith("data:") for value in attributes)
    assert page.count("<script") == 1
    assert "url(http" not in page
    assert "@import" not in page
    assert "beit_base_patch16_224, 50 %: 3.26x (3.16 to 3.35), 81.1 % (73.9 to 86.7)" in page


def test_memory_and_energy_stand_beside_what_has_them(tmp_path: Path) -> None:
    memory = Memory(weights=88.2, peak_rss=1214.4, device_peak=503.21)
    rows = [
        runs.measurement("a", 9.0, energy_mj=12.34),
        runs.measurement("b", 9.0, memory_mb=memory),
        runs.measurement("c", 9.0, memory_mb=memory.model_copy(update={"peak_rss": None})),
    ]
    data = of(runs.write_bench(tmp_path / "bench.json", runs.bench(rows, [])))
    lines = [line for line in markdown(data).splitlines() if line.startswith("|")]
    assert "| peak memory (MB) | energy (mJ per image) | setting |" in lines[0]
    cells = [[cell.strip() for cell in line.split("|")][-4:-2] for line in lines[2:]]
    assert cells == [
        ["214", "12.3"],
        ["1214, 503 on the device", ""],
        ["503 on the device", ""],
    ]
    page = html(data)
    assert all(f">{cell}</td>" in page for row in cells for cell in row if cell)
    none = rows[0].memory_mb.model_copy(update={"peak_rss": None})
    bare = [runs.measurement("a", 9.0, memory_mb=none)]
    data = of(runs.write_bench(tmp_path / "none.json", runs.bench(bare, [])))
    for text in (markdown(data), html(data)):
        assert not re.search("peak memory|energy (per|\\()", text, re.IGNORECASE)


def on_machine(path: Path, name: str, *rows: Measurement, **environment: str) -> Path:
    result = runs.bench(list(rows), [])
    known = {**result.environment, "cpu": name, **environment}
    return runs.write_bench(path, result.model_copy(update={"environment": known}))


def test_rows_of_several_machines_name_them(tmp_path: Path) -> None:
    times = runs.per_layer((1.0, 2.0))
    here = on_machine(
        tmp_path / "a.json", "A | CPU", runs.measurement("half", 9.0, per_layer=times)
    )
    there = on_machine(
        tmp_path / "b.json",
        "ARM",
        runs.measurement("half", 30.0, per_layer=times),
        board="Jetson Orin Nano",
    )
    data = of(here, there)
    lines = [line for line in markdown(data).splitlines() if line.startswith("| half")]
    how = "onnxruntime on cpu, fp32, batch 1, 1 thread"
    assert lines[0].endswith(f"| {how}, A \\| CPU |")
    assert lines[1].endswith(f"| {how}, Jetson Orin Nano |")
    # What layers take is not set side by side either.
    assert f"Measured: {how}, Jetson Orin Nano." in markdown(data).splitlines()
    page = html(data)
    assert f">{how}, A | CPU</td>" in page
    assert f">{how}, Jetson Orin Nano</td>" in page
    assert "All rows:" not in page
    assert differences(data.rows, data.benches) == ["A | CPU", "Jetson Orin Nano"]


def test_a_machine_that_all_rows_share_is_not_named_in_each(tmp_path: Path) -> None:
    files = [
        on_machine(tmp_path / f"{name}.json", "CPU A", runs.measurement(name, 9.0)) for name in "ab"
    ]
    data = of(*files)
    assert "CPU A" not in markdown(data)
    assert "All rows: onnxruntime on cpu, fp32, batch 1, 1 thread." in html(data)
    assert differences(data.rows, data.benches) == ["", ""]


def test_hostile_text_is_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\x1b[31m$x^2$|`\u202e"
    made = runs.record().made[0].model_copy(update={"options": {evil: evil}})
    runs.write_artifact(tmp_path / "a <b> & $x_1$", made=[made], class_names=[evil])
    result = runs.bench([runs.measurement(evil, 10.0)], [])
    runs.write_bench(
        tmp_path / "bench.json",
        result.model_copy(update={"warnings": [evil], "environment": {evil: 1}}),
    )
    for name in ("r.html", "r.md", "r.csv", "r.json"):
        report([tmp_path], tmp_path / name, title=evil, notes=[evil])
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert name in ("r.csv", "r.json") or "<script>alert" not in text.replace("\\<", "")


def test_csv_does_not_hand_formulas_to_a_spreadsheet(tmp_path: Path) -> None:
    runs.write_bench(tmp_path / "bench.json", runs.bench([runs.measurement("=1+1", 9.0)], []))
    report([tmp_path], tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["label"] == "'=1+1"
    assert (row["speedup"], row["target_accuracy"]) == ("", "")
    assert float(row["latency_ci95_ms_low"]) == pytest.approx(9 * 0.995)


def test_markdown_and_json_say_the_same(tmp_path: Path) -> None:
    root = runs.demo_runs(tmp_path / "runs")
    report([root], tmp_path / "r.md", notes=["quick run"])
    report([root], tmp_path / "r.json", notes=["quick run"])
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    document = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert document["schema"] == "edgeprune/report@1"
    assert document["notes"] == ["quick run"]
    assert f"**{document['headline']}**" in text
    assert "> **Note:** quick run" in text
    assert "| 2.91x (2.82 to 3.00) |" in text


def test_artifact_without_bench_and_bench_without_artifact(tmp_path: Path) -> None:
    runs.write_artifact(tmp_path / "pruned", ratio=0.5, accuracy=50.0)
    runs.write_bench(tmp_path / "bench.json", runs.bench([runs.measurement("other", 9.0)], []))
    data = of(tmp_path)
    assert [(r.label, r.speedup, r.target_accuracy) for r in data.rows] == [
        ("pruned", None, 50.0),
        ("other", None, None),
    ]
    assert data.models[0].layers[0].before is None
    report([tmp_path], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "not measured" in page
    assert "not scored" in page


def test_fingerprint_decides_over_the_name(tmp_path: Path) -> None:
    a, b = runs.record(ratio=0.5), runs.record(ratio=0.75)
    runs.write_artifact(tmp_path / "a", a)
    runs.write_artifact(tmp_path / "b", b)
    swapped = [
        runs.measurement("a", 10.0, fingerprint=b.weights_sha256),
        runs.measurement("b", 20.0, fingerprint="0" * 64),
    ]
    runs.write_bench(tmp_path / "bench.json", runs.bench(swapped, []))
    data = of(tmp_path)
    rows = {row.label: row for row in data.rows if row.latency_p50_ms == 10.0 or row.artifact}
    assert rows["b"].latency_p50_ms == 10.0
    assert rows["a"].latency_p50_ms is None
    assert any("measured other weights than artifact b" in text for text in data.warnings)


def test_measured_macs_that_disagree_are_kept_apart(tmp_path: Path) -> None:
    runs.write_artifact(tmp_path / "a")
    runs.write_bench(tmp_path / "bench.json", runs.bench([runs.measurement("a", 9.0, macs=5)], []))
    data = of(tmp_path)
    assert len(data.rows) == 2
    assert "5 MACs" in data.warnings[0]


def test_measurement_is_found_by_path_and_by_the_folder_of_its_file(tmp_path: Path) -> None:
    runs.write_artifact(tmp_path / "a")
    runs.write_artifact(tmp_path / "b", ratio=0.5)
    found = [
        runs.measurement("first", 9.0, artifact="a"),
        runs.measurement("second", 8.0, file=str(tmp_path / "b" / "model.onnx")),
    ]
    runs.write_bench(tmp_path / "bench.json", runs.bench(found, []))
    assert [(r.label, r.latency_p50_ms) for r in of(tmp_path).rows] == [("a", 9.0), ("b", 8.0)]


def test_drop_is_unknown_between_two_dense_models_unless_the_parent_tells(tmp_path: Path) -> None:
    runs.write_artifact(tmp_path / "one", accuracy=60.0, weights_sha256="1" * 64)
    runs.write_artifact(tmp_path / "two", accuracy=62.0, weights_sha256="2" * 64)
    runs.write_artifact(tmp_path / "orphan", ratio=0.5, accuracy=55.0)
    runs.write_artifact(tmp_path / "child", ratio=0.5, accuracy=55.0, parent="2" * 64)
    data = of(tmp_path)
    drops = {row.label: row.drop_points for row in data.rows}
    assert drops["orphan"] is None
    assert drops["child"] == pytest.approx(-7.0)
    assert any("2 dense artifacts" in text for text in data.warnings)


def test_other_target_or_split_is_never_compared(tmp_path: Path) -> None:
    runs.write_artifact(tmp_path / "dense", target="apple")
    by_file = runs.dg(50.0).model_copy(update={"split": SplitFacts(by="file", seed=0, holdout=0.2)})
    runs.write_artifact(tmp_path / "p1", ratio=0.5, accuracy=50.0)
    runs.write_artifact(tmp_path / "p2", ratio=0.6, dg=by_file)
    data = of(tmp_path)
    assert [row.drop_points for row in data.rows] == [None, None, None]
    assert any("different data sets, targets or splits" in text for text in data.warnings)


def test_oracle_selection_is_marked_and_compared_with_its_like_only(tmp_path: Path) -> None:
    oracle = runs.dg(57.0).model_copy(update={"selection": "oracle"})
    dense = runs.record()
    pruned = runs.record(ratio=0.5, dg=oracle)
    runs.write_artifact(tmp_path / "dense", dense)
    runs.write_artifact(tmp_path / "p", pruned)
    files = [
        runs.measurement("dense", 41.3, fingerprint=dense.weights_sha256),
        runs.measurement("p", 14.2, fingerprint=pruned.weights_sha256),
    ]
    runs.write_bench(
        tmp_path / "bench.json", runs.bench(files, [runs.comparison("p", "dense", 2.91)])
    )
    data = of(tmp_path)
    assert [row.drop_points for row in data.rows] == [None, None]
    assert [row.selection for row in data.rows] == ["source", "oracle"]
    why = "its step was selected by oracle, that of its dense artifact dense by source"
    assert any(why in text for text in data.warnings)
    mark = "oracle selection: the target picked the step"
    assert mark in data.headline
    assert mark in markdown(data)
    assert "oracle selection</span>" in html(data)
    runs.write_artifact(tmp_path / "dense-oracle", dg=oracle)
    assert of(tmp_path).models[-1].drop_points == pytest.approx(0.0)


def _scored_artifact(path: Path, ratio: float, right: float) -> Predictions:
    """An artifact with the predictions that its result comes from."""
    found = predictions(seed=int(10 * ratio), right=right, n=90)
    made = runs.record(ratio=ratio, dg=dg_result(found, "source"))
    facts = found.facts.model_copy(update={"weights_sha256": made.weights_sha256})
    found = replace(found, facts=facts)
    write_predictions(found, runs.write_artifact(path, made) / PREDICTIONS_FILE)
    return found


def test_drop_has_an_interval_where_predictions_are_kept(tmp_path: Path) -> None:
    dense = _scored_artifact(tmp_path / "dense", 0.0, 0.9)
    pruned = _scored_artifact(tmp_path / "pruned", 0.5, 0.6)
    data = of(tmp_path)
    drop = compare(pruned, dense, against="dense")
    row = data.rows[1]
    assert row.drop_points == pytest.approx(drop.points)
    assert (row.drop_ci95, row.flipped) == (drop.ci95, drop.flipped)
    assert row.worst_domain in pruned.domains
    assert (row.seed, row.fingerprint) == (0, pruned.facts.weights_sha256)
    assert f"{drop.flipped:.1f} % flipped" in markdown(data)
    assert f"{drop.flipped:.1f} % flipped" in html(data)
    assert data.warnings == []


def test_predictions_of_other_weights_or_images_are_refused(tmp_path: Path) -> None:
    dense = _scored_artifact(tmp_path / "dense", 0.0, 0.9)
    _scored_artifact(tmp_path / "pruned", 0.5, 0.6)
    path = tmp_path / "pruned" / PREDICTIONS_FILE
    for content, message in (
        (to_bytes(dense), "other weights than the artifact's"),
        (b"no tensors", "not a readable safetensors file"),
    ):
        path.write_bytes(content)
        data = of(tmp_path)
        assert any(message in text for text in data.warnings)
        assert data.rows[1].drop_points is not None
        assert data.rows[1].drop_ci95 is None


def test_accuracy_is_not_carried_over_to_int8(tmp_path: Path) -> None:
    runs.write_artifact(tmp_path / "a")
    fast = [runs.measurement("a", 9.0, precision="int8")]
    runs.write_bench(tmp_path / "bench.json", runs.bench(fast, []))
    (row,) = of(tmp_path).rows
    assert (row.target_accuracy, row.accuracy_note) == (None, "not scored at int8")


def test_estimates_are_marked(tmp_path: Path) -> None:
    root = runs.demo_runs(tmp_path / "runs")
    result = runs.bench(
        [runs.measurement("dense", 40.0), runs.measurement("pruned", 20.0, estimated=True)],
        [runs.comparison("pruned", "dense", 2.0)],
    )
    runs.write_bench(root / "bench.json", result)
    data = report([root], tmp_path / "r.html")
    assert data.headline.startswith("50 % pruned: estimated 2.0x faster")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert '<span class="tag">estimated</span>' in page
    assert "(estimated): 2.00x" in page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ('{"schema": "edgeprune/bench@2"}', "edgeprune/bench@2"),
        ('{"schema": "edgeprune/bench@1"}', "damaged"),
        ("[" * 100_000, "nested|JSON"),
    ],
)
def test_unreadable_bench_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bench.json").write_text(text, encoding="utf-8")
    with pytest.raises(ResultError, match=message):
        report([tmp_path], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("value", ["NaN", "Infinity", "0"])
def test_latency_must_be_a_number_above_zero(tmp_path: Path, value: str) -> None:
    path = runs.demo_runs(tmp_path) / "bench.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"p50": 41.3', f'"p50": {value}'), encoding="utf-8")
    with pytest.raises(ResultError, match=r"measurements\.0\.latency_ms\.p50 is"):
        collect([tmp_path])


def test_damaged_record_is_an_error(tmp_path: Path) -> None:
    path = runs.write_artifact(tmp_path / "a") / "edgeprune.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"target_accuracy": 58.7', '"target_accuracy": NaN'), "utf-8")
    with pytest.raises(ArtifactError, match=r"dg\.target_accuracy is nan"):
        collect([tmp_path])


def test_runs_that_are_missing_or_empty_and_outputs_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="does not exist"):
        collect([tmp_path / "absent"])
    with pytest.raises(ResultError, match="holds neither"):
        collect([tmp_path])
    with pytest.raises(ResultError, match="at least one run"):
        collect([])
    with pytest.raises(UsageError, match=r"'\.pdf'; accepted: \.html, \.md, \.csv, \.json"):
        report([tmp_path], tmp_path / "r.pdf")
    with pytest.raises(OutputError, match="is a directory"):
        report([tmp_path], tmp_path)


def test_what_is_named_twice_is_read_once_and_hidden_folders_are_skipped(tmp_path: Path) -> None:
    root = runs.demo_runs(tmp_path / "x")
    runs.write_artifact(root / ".dense.tmp")
    found = collect([root, root / "dense", root / "bench.json"])
    assert [artifact.label for artifact in found.artifacts] == ["dense", "pruned"]
    assert len(found.benches) == 1
    twin = runs.demo_runs(tmp_path / "y")
    labels = [a.label for a in collect([root, twin]).artifacts]
    assert labels == ["x/dense", "x/pruned", "y/dense", "y/pruned"]


def test_page_without_matplotlib_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UnavailableError) as caught:
        report([runs.demo_runs(tmp_path / "runs")], tmp_path / "r.html")
    assert caught.value.hint == "pip install 'edgeprune[report]'"
    assert not (tmp_path / "r.html").exists()
