from __future__ import annotations

import csv
import json
import re
import sqlite3
import sys
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import report_runs as runs
import sweep_runs as sweeps

from edgeprune.errors import ResultError, UsageError
from edgeprune.reporting import report, report_sweep
from edgeprune.reporting.sweep import find_store
from edgeprune.reporting.sweep.averages import image_interval
from edgeprune.reporting.sweep.document import SweepReport, SweepRow, TrialLine
from edgeprune.reporting.sweep.headline import headline
from edgeprune.reporting.sweep.latex import latex
from edgeprune.reporting.sweep.tables import results, tables
from edgeprune.reporting.sweep.write import build
from edgeprune.schema import Drop, MachineFacts
from edgeprune.sweeping.layout import claim
from edgeprune.sweeping.results import TrialKey
from edgeprune.sweeping.store import STORE_FILE, Store, read_store


def of(root: Path) -> SweepReport:
    return build(read_store(root / STORE_FILE), {})


def row_of(data: SweepReport, model: str, metric: str | None, ratio: float | None) -> SweepRow:
    (row,) = [r for r in data.rows if (r.model, r.metric, r.ratio) == (model, metric, ratio)]
    return row


def small(**changes: object) -> list[TrialKey]:
    facts: dict[str, object] = {
        "models": ["ViT-S"],
        "metrics": ["hessian"],
        "ratios": [0.5],
        "targets": ["cartoon", "photo"],
        "seeds": [0, 1, 2],
    }
    return sweeps.grid(**{**facts, **changes})


def test_averages_are_domainbeds_and_drops_are_paired(tmp_path: Path) -> None:
    keys = small()
    score = {k: 50.0 + 7 * i % 13 for i, k in enumerate(keys)}
    data = of(sweeps.write_store(tmp_path, keys, accuracy=score.__getitem__))
    dense, pruned = data.rows
    by = {(k.kind, k.target, k.seed): v for k, v in score.items()}
    over_seeds = [fmean(by["pruned", t, s] for t in ("cartoon", "photo")) for s in (0, 1, 2)]
    assert pruned.average.score is not None
    assert pruned.average.score.value == pytest.approx(fmean(over_seeds))
    assert pruned.average.score.se == pytest.approx(stdev(over_seeds) / sqrt(3))
    assert pruned.average.score.n == 3
    drops = [
        by["pruned", t, s] - by["dense", t, s] for t in ("cartoon", "photo") for s in (0, 1, 2)
    ]
    assert pruned.drop.score is not None
    assert pruned.drop.score.value == pytest.approx(fmean(drops))
    assert pruned.drop.score.se == pytest.approx(stdev(drops) / sqrt(6))
    photo = pruned.targets["photo"].score
    assert photo is not None
    assert photo.value == pytest.approx(fmean(by["pruned", "photo", s] for s in (0, 1, 2)))
    assert dense.drop.score is None


def test_one_seed_has_no_error(tmp_path: Path) -> None:
    data = of(sweeps.write_store(tmp_path, small(seeds=[4])))
    table = results(data)
    assert "±" not in " ".join(cell.text() for cell in table.rows[1][3:6])
    assert any("One seed (4)" in text for text in table.caption)


def test_rows_come_by_model_then_ratio_with_dense_first(tmp_path: Path) -> None:
    data = of(sweeps.full_sweep(tmp_path))
    assert [(r.model, r.metric, r.ratio) for r in data.rows[:4]] == [
        ("ViT-S", None, None),
        ("ViT-S", "hessian", 0.5),
        ("ViT-S", "dg_min", 0.5),
        ("ViT-S", "hessian", 0.75),
    ]
    assert data.complete
    assert data.progress == "168 of 168 trials done"
    assert data.warnings == []
    assert data.headline == "ViT-S, 50 % dg_min: 3.3x faster at -1.2 points over 4 unseen domains"


def test_nothing_is_averaged_over_other_sets_of_targets(tmp_path: Path) -> None:
    lost = {("pruned", "photo", 0), ("pruned", "photo", 1), ("pruned", "cartoon", 2)}

    def state(key: TrialKey) -> str:
        return "failed" if (key.kind, key.target, key.seed) in lost else "done"

    data = of(sweeps.write_store(tmp_path, small(), states=state))
    pruned = data.rows[1]
    # Every target has a trial, but no seed has every target.
    assert pruned.average.score is None
    assert pruned.drop.score is None
    assert pruned.source_val.score is None
    assert pruned.curve == []
    cells = dict(zip(results(data).columns, results(data).rows[1], strict=True))
    assert cells["Average"].text() == "1 of 2 targets"
    assert cells["Drop"].text() == "1 of 2 targets"
    assert cells["photo"].text().endswith("(1 of 3, 2 failed)")
    assert not data.complete
    assert data.progress == "9 of 12 trials done, 3 failed; figures are of those done"
    assert "9 of 12 trials done, 3 failed; figures are of those done" in results(data).caption


def test_seeds_without_every_target_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    keys = small()

    def state(key: TrialKey) -> str:
        lost = (key.kind, key.target, key.seed) == ("pruned", "photo", 1)
        return "running" if lost else "done"

    data = of(sweeps.write_store(tmp_path, keys, states=state))
    pruned = data.rows[1]
    kept = [k for k in keys if k.kind == "pruned" and k.seed != 1]
    assert pruned.average.score is not None
    assert pruned.average.score.value == pytest.approx(fmean(map(sweeps.plausible, kept)))
    cells = dict(zip(results(data).columns, results(data).rows[1], strict=True))
    assert "(2 of 3 seeds)" in cells["Average"].text()
    assert "(2 of 3 seeds)" in cells["Drop"].text()


def test_drop_needs_the_dense_trial_of_the_same_target_and_seed(tmp_path: Path) -> None:
    data = of(
        sweeps.write_store(
            tmp_path,
            small(seeds=[0, 1]),
            states=lambda key: "failed" if (key.kind, key.seed) == ("dense", 1) else "done",
        )
    )
    pruned = data.rows[1]
    assert pruned.average.seeds == 2
    assert pruned.drop.seeds == 1
    assert [t.drop_points is None for t in data.trials if t.kind == "pruned"] == [
        False,
        True,
        False,
        True,
    ]


def test_failed_trials_are_in_the_table_and_their_errors_below(tmp_path: Path) -> None:
    root = sweeps.write_store(
        tmp_path / "sweep",
        small(),
        states=lambda key: "failed" if (key.kind, key.target) == ("pruned", "photo") else "done",
    )
    error = "loss is nan_at step 40 (100 % of <runs> & more)"
    for suffix, shown in (
        (".md", "loss is nan_at step 40 (100 % of \\<runs\\> \\& more)"),
        (".tex", r"loss is nan\_at step 40 (100 \% of \textless{}runs\textgreater{} \& more)"),
        (".csv", error),
        (".json", error),
    ):
        data = report_sweep(root / STORE_FILE, tmp_path / f"r{suffix}")
        text = (tmp_path / f"r{suffix}").read_text(encoding="utf-8")
        assert text.count(shown) == 3, suffix
    assert "failed" in [cell.text() for cell in results(data).rows[1]]
    assert "ViT-S, hessian 50 % of channels, target photo, seed 2: loss" in (
        tmp_path / "r.md"
    ).read_text(encoding="utf-8")


def test_speed_is_found_by_fingerprint_and_only_against_dense(tmp_path: Path) -> None:
    keys = small(targets=["art_painting"], seeds=[0])
    root = sweeps.write_store(tmp_path, keys)
    sweeps.add_timings(root, keys, batches=(1, 8))
    pruned = of(root).rows[1]
    assert [(s.batch, s.speedup, s.trials, s.estimated) for s in pruned.speeds] == [
        (1, pytest.approx(3.2), 1, False),
        (8, pytest.approx(3.2), 1, False),
    ]
    columns = results(of(root)).columns
    assert "Measured speed-up, batch 1" in columns
    assert "Measured speed-up, batch 8" in columns
    # Weights that have changed since: the timing is not theirs.
    other = [k.model_copy(update={"scope": "local"}) if k.kind == "pruned" else k for k in keys]
    moved = sweeps.write_store(tmp_path / "other", other)
    sweeps.add_timings(moved, keys)
    data = of(moved)
    assert data.rows[1].speeds == []
    assert any("no trial here holds" in text for text in data.warnings)


def test_estimated_and_measured_never_share_a_column(tmp_path: Path) -> None:
    keys = small(targets=["art_painting"], seeds=[0], metrics=["hessian", "l1"])
    root = sweeps.write_store(tmp_path, keys)
    dense, first, second = (sweeps.result(key).fingerprint for key in keys)
    store = Store(root / STORE_FILE)
    measured = [
        runs.measurement("d", 40.0, fingerprint=dense),
        runs.measurement("p", 10.0, fingerprint=first),
        runs.measurement("e", 5.0, fingerprint=second, estimated=True),
    ]
    compared = [runs.comparison("p", "d", 4.0), runs.comparison("e", "d", 8.0)]
    store.add_bench("ViT-S", runs.bench(measured, compared))
    store.close()
    data = of(root)
    table = results(data)
    assert [c for c in table.columns if "speed-up" in c] == [
        "Measured speed-up, batch 1",
        "Estimated speed-up, batch 1",
    ]
    assert [cell.text() for cell in table.rows[2][-3:-1]] == [
        "not measured",
        "8.00× (7.76 to 8.24)",
    ]
    assert "8.0x" not in data.headline
    assert "smallest by MACs" in (data.headline_rule or "")


def test_several_timed_trials_have_a_geometric_mean_and_all_their_intervals(
    tmp_path: Path,
) -> None:
    keys = small(targets=["art_painting"], seeds=[0, 1])
    root = sweeps.write_store(tmp_path, keys)
    prints = [sweeps.result(key).fingerprint for key in keys]
    names = ("d0", "d1", "p0", "p1")
    measured = [
        runs.measurement(name, 40.0, fingerprint=of_it)
        for name, of_it in zip(names, prints, strict=True)
    ]
    compared = [runs.comparison("p0", "d0", 2.0), runs.comparison("p1", "d0", 8.0)]
    store = Store(root / STORE_FILE)
    store.add_bench("ViT-S", runs.bench(measured, compared))
    store.close()
    (speed,) = of(root).rows[1].speeds
    assert speed.speedup == pytest.approx(4.0)
    assert speed.ci95 == pytest.approx((2.0 * 0.97, 8.0 * 1.03))
    assert speed.trials == 2


def test_times_of_other_machines_are_not_compared(tmp_path: Path) -> None:
    keys = small(targets=["photo"], seeds=[0])
    root = sweeps.write_store(tmp_path, keys)
    assert of(root).rows[1].finetune_ratio is not None
    store = Store(root / STORE_FILE)
    store.finish(sweeps.result(keys[1], 70.0, machine=MachineFacts(cpu="another", cores=64)))
    store.close()
    row = of(root).rows[1]
    assert row.finetune_ratio is None
    assert row.finetune_s is not None


def test_what_the_teacher_took_is_not_fine_tuning(tmp_path: Path) -> None:
    keys = small(targets=["photo"], seeds=[0])
    dense, pruned = (sweeps.result(key, 70.0) for key in keys[:2])
    taught = pruned.seconds.finetune.model_copy(
        update={"teacher": 30.0, "train": pruned.seconds.finetune.train + 30}
    )
    seconds = pruned.seconds.model_copy(update={"finetune": taught})
    root = sweeps.write_store(tmp_path, keys)
    store = Store(root / STORE_FILE)
    store.finish(pruned.model_copy(update={"seconds": seconds}))
    store.close()
    ratio = of(root).rows[1].finetune_ratio
    assert ratio is not None
    assert ratio.value == pytest.approx(
        pruned.seconds.finetune.train / dense.seconds.finetune.train
    )


def test_best_is_marked_where_all_trials_are_there(tmp_path: Path) -> None:
    keys = small(metrics=["hessian", "l1"], ratios=[0.5, 0.75])
    level = {"hessian": 70.0, "l1": 60.0, None: 80.0}

    def state(key: TrialKey) -> str:
        lost = (key.metric, key.ratio, key.target) == ("hessian", 0.75, "photo")
        return "failed" if lost else "done"

    data = of(sweeps.write_store(tmp_path, keys, accuracy=lambda k: level[k.metric], states=state))
    best = {(r.metric, r.ratio): r.best for r in data.rows}
    assert best["hessian", 0.5] == ["target/cartoon", "target/photo", "average", "drop"]
    assert best["l1", 0.5] == []
    assert best["hessian", 0.75] == ["target/cartoon"]
    assert best["l1", 0.75] == []  # alone is not the best
    assert best[None, None] == []
    assert r"\textbf{70.0} $\pm$ 0.0" in latex(data)


def line(target: str, seed: int, points: float, ci95: tuple[float, float] | None) -> TrialLine:
    return TrialLine(
        id=f"{target}{seed}",
        state="done",
        error=None,
        drop_points=points,
        drop_ci95=ci95,
        variant=1,
        **sweeps.key("hessian", 0.5, target=target, seed=seed).model_dump(),
    )


def test_image_interval_shrinks_with_targets_but_not_with_seeds() -> None:
    trials = [line(t, s, -2.0, (-4.0, -1.0)) for t in "ab" for s in (0, 1)]
    low, high = image_interval(trials, ["a", "b"]) or (0.0, 0.0)
    assert low == pytest.approx(-2.0 - 2.0 / sqrt(2))
    assert high == pytest.approx(-2.0 + 1.0 / sqrt(2))
    assert image_interval([*trials, line("a", 2, -2.0, None)], ["a", "b"]) == (low, high)
    trials[0] = line("a", 0, -2.0, None)
    assert image_interval(trials, ["a", "b"]) is None


def test_curve_is_over_the_same_trials_at_every_step(tmp_path: Path) -> None:
    keys = small(seeds=[0])
    root = sweeps.write_store(tmp_path, keys)
    curve = of(root).rows[1].curve
    assert [point.step for point in curve] == list(range(0, 401, 50))
    assert {point.n for point in curve} == {2}
    store = Store(root / STORE_FILE)
    short = sweeps.result(keys[-1])
    store.finish(short.model_copy(update={"history": short.history[:3]}))
    store.close()
    assert [point.step for point in of(root).rows[1].curve] == [0, 50, 100]


def test_csv_has_a_row_per_trial_with_its_provenance(tmp_path: Path) -> None:
    root = sweeps.full_sweep(tmp_path / "sweep")
    report_sweep(root / STORE_FILE, tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 168
    last = rows[-1]
    key = sweeps.grid()[-1]
    assert float(last["target_accuracy"]) == pytest.approx(sweeps.plausible(key))
    expected = {
        "model": "DeiT-S",
        "metric": "dg_min",
        "ratio": "0.95",
        "seed": "2",
        "split": "file",
        "split_seed": "2",
        "selection": "source",
        "fingerprint": sweeps.result(key).fingerprint,
        "machine.cpu": "Example CPU @ 2.50 GHz",
        "versions.torch": "2.14.1",
        "data": "PACS",
    }
    assert {name: last[name] for name in expected} == expected
    timed = [r for r in rows if r["speedup.onnxruntime.cpu.fp32.batch1.threads1"]]
    assert len(timed) == 14


def test_data_fingerprint_is_that_of_the_artifact_while_it_is_there(tmp_path: Path) -> None:
    keys = small(targets=["photo"], seeds=[0])
    root = sweeps.write_store(tmp_path, keys)
    done = sweeps.result(keys[1])
    runs.write_artifact(
        root / done.artifact, runs.record(ratio=0.5, weights_sha256=done.fingerprint)
    )
    data = report_sweep(root / STORE_FILE, tmp_path / "r.json")
    assert [trial.data_fingerprint for trial in data.trials] == [None, "5f0c" * 16]


def test_latex_is_balanced_and_escaped(tmp_path: Path) -> None:
    keys = small(models=['A_1 & 50 % #{}~^\\$<>|"'], targets=["art_painting", "c\u202ea"])
    root = sweeps.write_store(tmp_path, keys, name="na_me \x1b[31m %")
    text = latex(of(root))
    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == 3
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    assert "\x1b" not in text
    assert "\u202e" not in text
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    plain = re.sub(r"\\[\\&%$#_{}]", "", body)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    assert "#" not in plain
    name = (
        r"A\_1 \& 50 \% \#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\$"
        r"\textless{}\textgreater{}\textbar{}''"
    )
    assert f"\\midrule\n{name} & dense" in text
    assert r"art\_painting" in text
    # Every line of a table has as many cells as the table has columns.
    for table in re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        for found in re.findall(r"^(.*) \\\\$", table[1], re.MULTILINE):
            assert len(re.findall(r"(?<!\\)&", found)) == len(table[0]) - 1


def test_markdown_tables_are_whole(tmp_path: Path) -> None:
    root = sweeps.full_sweep(tmp_path / "sweep")
    data = report_sweep(root / STORE_FILE, tmp_path / "r.md", title="mine")
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    assert text.startswith("# mine\n")
    assert text.count("| ViT-S | dense | – |") == len(tables(data)) == 3
    widths = {
        len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")
    }
    assert widths == {len(table.columns) + 1 for table in tables(data)}
    document = json.loads(data.to_json())
    assert document["schema"] == "edgeprune/sweep-report@1"
    assert SweepReport.model_validate(document) == data


def test_a_running_sweep_can_be_read_while_it_writes(tmp_path: Path) -> None:
    keys = small(seeds=[0])
    store = Store(tmp_path / STORE_FILE)
    store.plan([(sweeps.identity(key), key) for key in keys], "running")
    data = of(tmp_path)
    assert data.progress == "0 of 4 trials done, 4 waiting; figures are of those done"
    assert data.headline == "No pruned model has been scored on every target yet"
    for suffix in (".md", ".tex", ".csv", ".json"):
        report_sweep(tmp_path / STORE_FILE, tmp_path / f"r{suffix}")
    store.finish(sweeps.result(keys[0]))
    assert of(tmp_path).progress.startswith("1 of 4 trials done")
    store.close()


def test_nothing_is_running_in_a_sweep_that_was_killed(tmp_path: Path) -> None:
    root = sweeps.write_store(tmp_path / "sweep", small(seeds=[0]), states=lambda key: "running")

    def progress() -> str:
        return report_sweep(root / STORE_FILE, tmp_path / "r.md").progress

    assert progress() == "0 of 4 trials done, 4 waiting; figures are of those done"
    with claim(root) as is_ours:
        assert is_ours
        assert progress() == "0 of 4 trials done, 4 running; figures are of those done"
        with claim(root) as is_ours:
            assert not is_ours
    assert "4 waiting" in progress()


def test_what_is_no_sweep_or_damaged_is_refused(tmp_path: Path) -> None:
    root = sweeps.write_store(tmp_path / "sweep", small())
    assert find_store([root]) == root / STORE_FILE
    assert find_store([root / STORE_FILE]) == root / STORE_FILE
    assert find_store([tmp_path]) is None
    with pytest.raises(UsageError, match="a sweep is reported by itself"):
        find_store([tmp_path, root])
    with pytest.raises(ResultError, match="does not exist"):
        report_sweep(tmp_path / "absent.sqlite", tmp_path / "r.md")
    (tmp_path / "text.sqlite").write_text("no database at all, only text", encoding="utf-8")
    with pytest.raises(ResultError, match="not a database"):
        report_sweep(tmp_path / "text.sqlite", tmp_path / "r.md")
    Store(tmp_path / "empty.sqlite").close()
    with pytest.raises(ResultError, match="holds no trials"):
        report_sweep(tmp_path / "empty.sqlite", tmp_path / "r.md")
    with pytest.raises(UsageError, match=r"'\.pdf'; accepted: "):
        report_sweep(root / STORE_FILE, tmp_path / "r.pdf")
    with sqlite3.connect(root / STORE_FILE) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(ResultError, match="version 99"):
        report_sweep(root / STORE_FILE, tmp_path / "r.md")
    assert not (tmp_path / "r.md").exists()


def test_latex_of_runs_that_are_no_sweep_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'\.tex'; accepted: ") as caught:
        report([runs.demo_runs(tmp_path / "runs")], tmp_path / "r.tex")
    assert caught.value.hint is not None
    assert "sweep" in caught.value.hint


def test_trials_made_with_other_versions_are_warned_of(tmp_path: Path) -> None:
    keys = small(seeds=[0])
    root = sweeps.write_store(tmp_path, keys)
    store = Store(root / STORE_FILE)
    store.finish(sweeps.result(keys[1], versions={**runs.VERSIONS, "torch": "2.99"}))
    store.close()
    assert any("differ in versions" in text for text in of(root).warnings)


def test_the_paired_drop_of_a_trial_goes_before_the_plain_difference(tmp_path: Path) -> None:
    keys = small(targets=["photo"], seeds=[0, 1])
    root = sweeps.write_store(tmp_path, keys)
    store = Store(root / STORE_FILE)
    for key in keys:
        if key.kind == "pruned":
            drop = Drop(
                against="dense",
                points=-2.5,
                ci95=(-4.0, -1.0),
                flipped=7.0,
                n=400,
                resampled="image",
            )
            store.finish(sweeps.result(key, 70.0, drop=drop))
    store.close()
    data = of(root)
    row = data.rows[1]
    assert row.drop.score is not None
    assert row.drop.score.value == pytest.approx(-2.5)
    assert row.drop_ci95 == pytest.approx((-4.0, -1.0))
    main, _, training = tables(data)
    cells = dict(zip(main.columns, main.rows[1], strict=True))
    assert cells["Drop"].text() == "-2.5 ± 0.0 (-4.0 to -1.0)"
    assert any("paired bootstrap" in text for text in main.caption)
    assert dict(zip(training.columns, training.rows[1], strict=True))["Flipped"].value == "7.0"


def test_what_the_target_selected_is_marked_and_compared_with_its_like_only(tmp_path: Path) -> None:
    keys = small(metrics=["hessian", "l1"], targets=["photo"], seeds=[0, 1])
    root = sweeps.write_store(tmp_path, keys)
    store = Store(root / STORE_FILE)
    drop = Drop(against="x", points=1.0, ci95=(0.0, 2.0), flipped=7.0, n=400, resampled="image")
    for key in keys:
        if key.metric == "hessian":
            done = sweeps.result(key, 70.0, drop=drop)
            oracle = done.dg.model_copy(update={"selection": "oracle"})
            store.finish(done.model_copy(update={"dg": oracle}))
    store.close()
    data = of(root)
    marked = [row[1].text() for row in results(data).rows]
    assert marked == ["dense", "hessian (oracle)", "l1"]
    dense, oracle_row, _ = data.rows
    assert oracle_row.average.score is not None
    assert (oracle_row.drop.score, oracle_row.flipped.score) == (None, None)
    assert [row.best for row in data.rows] == [[], [], []]
    assert (
        "no drop is given for 2 of 4 pruned trials: the step was selected by oracle, that of the"
        " dense model by source" in data.warnings
    )
    line, _ = headline([dense, oracle_row], data.targets)
    assert line == "No pruned model can be held against its dense one on every target"


def test_prunings_that_differ_in_other_settings_are_not_mixed(tmp_path: Path) -> None:
    keys = small(targets=["photo"], seeds=[0, 1])
    store = Store(tmp_path / STORE_FILE)
    planned = [
        (f"{sweeps.identity(key)}-{n}", key, 70.0 + 5 * n)
        for key in keys
        for n in ((0, 1) if key.kind == "pruned" else (0,))
    ]
    store.plan([(name, key) for name, key, _ in planned], "twice")
    for name, key, accuracy in planned:
        store.finish(sweeps.result(key, accuracy).model_copy(update={"id": name}))
    store.close()
    data = of(tmp_path)
    rows = [(row.variant, row.planned, row.average.score) for row in data.rows]
    assert [(n, planned, score.value) for n, planned, score in rows if score] == [
        (1, 2, 70.0),
        (1, 2, 70.0),
        (2, 2, 75.0),
    ]
    assert [row[1].text() for row in results(data).rows] == ["dense", "hessian", "hessian #2"]
    assert any("differ only in settings" in text for text in data.warnings)
