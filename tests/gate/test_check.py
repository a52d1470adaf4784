from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarking"))
sys.path.insert(0, str(Path(__file__).parents[1] / "reporting"))
import gate_runs as runs
import report_runs
from onnx_files import write_mlp

import edgeprune
from edgeprune.benchmarking.raw import MAX_CALLS, pack, unpack
from edgeprune.benchmarking.runtimes.base import Job, Loaded
from edgeprune.benchmarking.workers import RecordedWorker
from edgeprune.errors import ArtifactError, EdgepruneError, ResultError, UsageError
from edgeprune.gate import Limits, check, pairs, speed
from edgeprune.gate.machines import differences, identity
from edgeprune.gate.outputs import github_annotations, junit, markdown
from edgeprune.gate.settle import confirm
from edgeprune.schema import CheckResult, EvalResult, RawCalls, parse_document

MS = 1_000_000


@pytest.fixture
def stored(tmp_path: Path):
    """Write a baseline and a current result; return how to check them."""

    def run(current: Any, base: Any, **options: Any) -> CheckResult:
        a, b = runs.write(tmp_path / "new.json", current), runs.write(tmp_path / "base.json", base)
        return check(a, baseline=b, **options)

    return run


def of(result: CheckResult) -> list[tuple[str, str, str]]:
    return [(row.model, row.metric, row.verdict) for row in result.findings]


def test_every_setting_is_compared_with_its_own_baseline(stored: Any) -> None:
    rows = [runs.measurement("half", 5, batch=1), runs.measurement("half", 30, batch=8)]
    base = [runs.measurement("half", 5, batch=1), runs.measurement("half", 20, batch=8)]
    result = stored(runs.bench(*rows), runs.bench(*base))
    assert [(row.batch, row.verdict) for row in result.findings] == [(1, "passed"), (8, "failed")]
    slow = result.findings[1]
    assert (slow.metric, slow.unit, slow.limit, slow.against) == ("median", "ms", 1.1, "half")
    assert slow.ratio == pytest.approx(1.5, rel=0.01)
    assert slow.ci95 is not None
    assert slow.ci95[0] > 1.1
    assert (slow.current, slow.baseline) == (
        pytest.approx(30, rel=0.01),
        pytest.approx(20, rel=0.01),
    )
    assert (result.passed, result.interleaved) == (False, False)
    again = parse_document(json.loads(result.to_json()), "x", CheckResult, ResultError)
    assert again == result


def test_what_has_no_counterpart_is_said(stored: Any) -> None:
    current = runs.bench(runs.measurement("a"), runs.measurement("new"))
    base = runs.bench(runs.measurement("a"), runs.measurement("gone"))
    result = stored(current, base)
    assert of(result) == [("a", "median", "passed"), ("gone", "median", "inconclusive")]
    assert result.passed
    assert not stored(current, base, strict=True).passed
    assert any("new (onnxruntime, cpu, fp32" in warning for warning in result.warnings)
    with pytest.raises(ResultError, match=r"no measurement in common: b .* in the one, a "):
        stored(runs.bench(runs.measurement("b")), runs.bench(runs.measurement("a")))
    threads = runs.bench(runs.measurement("a", threads=2))
    with pytest.raises(ResultError, match="threads 2, batch 1"):
        stored(threads, runs.bench(runs.measurement("a")))


def test_a_file_is_held_against_one_of_another_precision_beside_it(tmp_path: Path) -> None:
    small, dense = runs.measurement("net.int8", 3, precision="int8"), runs.measurement("net", 5)
    result = runs.bench(small, dense, compare=(("net.int8", "net"),))
    (found,) = check(runs.write(tmp_path / "b.json", result)).findings
    assert (found.model, found.precision, found.against) == ("net.int8", "int8", "net")
    assert (found.verdict, found.ratio) == ("passed", pytest.approx(0.6, rel=0.01))


def test_estimates_and_results_without_calls_have_no_verdict(stored: Any) -> None:
    good = runs.bench(runs.measurement("a"))
    for changes, reason in (({"estimated": True}, "an estimate"), ({"raw": None}, "single calls")):
        (found,) = stored(good, runs.bench(runs.measurement("a", **changes))).findings
        assert (found.verdict, found.ratio) == ("inconclusive", None)
        assert reason in str(found.note)


def test_a_percentile_that_is_not_quoted_has_no_verdict(stored: Any) -> None:
    few = runs.bench(runs.measurement("a", taken=runs.rounds(5, count=15, calls=8)))
    limits = Limits.parse(max_regression=["p95:10%", "median:10%"])
    first, second = stored(few, few, limits=limits).findings
    assert (first.verdict, first.current, second.verdict) == ("inconclusive", None, "passed")
    assert "120 calls, too few for p95 (128 are needed)" in str(first.note)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cpu": "Other CPU"}, "cpu Example CPU @ 2.50 GHz and Other CPU"),
        ({"available_cores": 4}, "available cores 2 and 4"),
        ({"governor": "powersave"}, "governor performance and powersave"),
        ({"versions": {"onnxruntime": "1.30.0"}}, "onnxruntime 1.32.0 and 1.30.0"),
        ({"cpu": None}, "base.json' does not say on which CPU"),
        ({"cpu": None, "estimated": True}, "base.json' holds estimates, which are compared with"),
    ],
)
def test_another_machine_is_refused(stored: Any, change: dict[str, Any], told: str) -> None:
    row = runs.measurement("a")
    with pytest.raises(ResultError) as caught:
        stored(runs.bench(row), runs.bench(row, **change))
    assert told in str(caught.value)
    assert "new.json" in str(caught.value) or "base.json" in str(caught.value)


def test_another_edgeprune_is_what_is_tested(stored: Any) -> None:
    row = runs.measurement("a")
    versions = {"edgeprune": "0.2.0", "onnxruntime": "1.32.0"}
    assert stored(runs.bench(row), runs.bench(row, versions=versions)).passed


def test_verdicts_of_a_busy_machine_are_not_believed(stored: Any) -> None:
    slow, fast = runs.measurement("a", 8), runs.measurement("a", 5)
    busy, quiet = {"busy_cores": 1.2}, {}
    cases = [
        (slow, busy, fast, quiet, "inconclusive"),
        (fast, busy, slow, quiet, "passed"),
        (slow, quiet, fast, busy, "failed"),
        (fast, quiet, slow, busy, "inconclusive"),
    ]
    for current, here, base, there, verdict in cases:
        (found,) = stored(runs.bench(current, **here), runs.bench(base, **there)).findings
        assert found.verdict == verdict


def test_a_run_beside_other_programs_is_not_believed(stored: Any) -> None:
    slow, fast = runs.bench(runs.measurement("a", 8)), runs.bench(runs.measurement("a", 5))
    disturbed = {"other_busy_cores": 0.9}
    (found,) = stored(runs.bench(runs.measurement("a", 8), during=disturbed), fast).findings
    assert found.verdict == "inconclusive"
    (found,) = stored(slow, fast).findings
    assert found.verdict == "failed"


@pytest.mark.parametrize("side", ["current figure", "baseline"])
@pytest.mark.parametrize("ms", [5.0, 8.0])
def test_a_starved_side_has_no_verdict_but_a_way_out(stored: Any, side: str, ms: float) -> None:
    shares = {"current figure": 0.02, "baseline": None, side: 0.4}
    current = runs.measurement("a", ms, waiting_share=shares["current figure"])
    base = runs.measurement("a", 5.0, waiting_share=shares["baseline"])
    (found,) = stored(runs.bench(current), runs.bench(base)).findings
    assert found.verdict == "inconclusive"
    assert found.ratio == pytest.approx(ms / 5, rel=0.02)
    assert f"the {side} was starved: it waited for a core for 40% of the time" in str(found.note)
    assert "stop the other programs, or use fewer --threads" in str(found.note)


def test_sizes_are_compared_as_they_are(stored: Any) -> None:
    def sized(weights: float | None, rss: float) -> Any:
        memory = {"weights": weights, "peak_rss": rss, "device_peak": None}
        return runs.bench(runs.measurement("a", memory_mb=memory))

    limits = Limits.parse(max_size_growth="0%", max_memory_growth="5%")
    result = stored(sized(80.1, 205.0), sized(80.0, 200.0), limits=limits)
    assert of(result)[1:] == [("a", "weights", "failed"), ("a", "peak_rss", "passed")]
    result = stored(sized(80.0, 220.0), sized(None, 200.0), limits=limits)
    assert of(result)[1:] == [("a", "weights", "inconclusive"), ("a", "peak_rss", "failed")]


def test_the_baseline_inside_a_result_was_interleaved(tmp_path: Path) -> None:
    rows = [runs.measurement("dense", 5), runs.measurement("half", 6)]
    path = runs.write(tmp_path / "b.json", runs.bench(*rows, compare=(("half", "dense"),)))
    result = check(path)
    assert (of(result), result.interleaved) == ([("half", "median", "failed")], True)
    assert result.findings[0].against == "dense"
    lonely = runs.write(tmp_path / "c.json", runs.bench(rows[0]))
    with pytest.raises(UsageError, match="no baseline to compare with"):
        check(lonely)
    wrong = runs.write(tmp_path / "d.json", runs.bench(rows[1], compare=(("half", "dense"),)))
    with pytest.raises(ResultError, match="which it lacks"):
        check(wrong)


def test_accuracy_of_artifacts(tmp_path: Path) -> None:
    report_runs.write_artifact(tmp_path / "dense", accuracy=58.7)
    report_runs.write_artifact(tmp_path / "half", ratio=0.5, accuracy=55.6)
    rows = [
        runs.measurement(name, artifact=str(tmp_path / name), file=None)
        for name in ("dense", "half")
    ]
    path = runs.write(tmp_path / "b.json", runs.bench(*rows, compare=(("half", "dense"),)))
    result = check(path, limits=Limits.parse(min_accuracy=55, max_accuracy_drop=3))
    assert of(result) == [("half", "accuracy", "passed"), ("half", "accuracy_drop", "failed")]
    floor, drop = result.findings
    assert (floor.current, floor.limit, floor.unit) == (55.6, 55, "%")
    assert floor.ci95 == report_runs.dg(55.6).domains["microsoft"].ci95
    assert (drop.baseline, drop.limit) == (58.7, pytest.approx(55.7))
    other = EvalResult(model="dense", dg=report_runs.dg(59.0, target="google"))
    (tmp_path / "e.json").write_text(other.to_json())
    result = check(path, limits=Limits.parse(max_accuracy_drop=3), evals=[tmp_path / "e.json"])
    assert of(result) == [("half", "accuracy_drop", "inconclusive")]


def test_accuracy_from_eval(tmp_path: Path) -> None:
    path = runs.write(tmp_path / "b.json", runs.bench(runs.measurement("half")))
    limits = Limits.parse(min_accuracy=60)
    with pytest.raises(UsageError, match="accuracy of 'half' is not known"):
        check(path, limits=limits)
    scored = EvalResult(model="half.onnx", dg=report_runs.dg(55.6))
    (tmp_path / "e.json").write_text(scored.to_json())
    result = check(path, limits=limits, evals=[tmp_path / "e.json"])
    assert of(result) == [("half", "accuracy", "failed")]


def write_eval(path: Path, accuracy: float, **changes: Any) -> Path:
    facts = {"model": "half", "dg": report_runs.dg(accuracy)}
    path.write_text(EvalResult(**{**facts, **changes}).to_json())
    return path


@pytest.fixture
def scored(tmp_path: Path):
    """Write results of bench and eval; return how to check them."""

    def run(rows: list[Any], evals: list[Path], **limits: Any) -> CheckResult:
        path = runs.write(tmp_path / "b.json", runs.bench(*rows))
        return check(path, limits=Limits.parse(**(limits or {"min_accuracy": 50})), evals=evals)

    return run


def test_every_eval_of_a_model_is_judged_in_any_order(tmp_path: Path, scored: Any) -> None:
    good, bad = write_eval(tmp_path / "good.json", 60.0), write_eval(tmp_path / "bad.json", 40.0)
    row = runs.measurement("half")
    for evals in ([good, bad], [bad, good]):
        result = scored([row], evals)
        assert not result.passed
        found = {finding.current: (finding.verdict, finding.note) for finding in result.findings}
        assert {value: verdict for value, (verdict, _) in found.items()} == {
            60.0: "passed",
            40.0: "failed",
        }
        assert found[40.0][1] == f"on microsoft by {str(bad)!r}"
    (alone,) = scored([row], [good]).findings
    assert alone.note is None


def test_drops_are_judged_where_both_were_scored_alike(tmp_path: Path) -> None:
    rows = [runs.measurement("dense"), runs.measurement("half")]
    path = runs.write(tmp_path / "b.json", runs.bench(*rows, compare=(("half", "dense"),)))
    evals = [
        write_eval(tmp_path / f"{model}-{target}.json", value, model=model, dg=dg)
        for model, target, value in (
            ("dense", "google", 80.0),
            ("dense", "microsoft", 60.0),
            ("half", "microsoft", 58.0),
            ("half", "google", 70.0),
            ("half", "apple", 70.0),
        )
        for dg in [report_runs.dg(value, target=target)]
    ]
    for given in (evals, evals[::-1]):
        result = check(path, limits=Limits.parse(max_accuracy_drop=3), evals=given)
        found = sorted(
            (row.baseline or 0.0, row.current or 0.0, row.verdict) for row in result.findings
        )
        assert found == [(0.0, 0.0, "inconclusive"), (60.0, 58.0, "passed"), (80.0, 70.0, "failed")]


def test_an_eval_of_other_weights_is_refused(tmp_path: Path, scored: Any) -> None:
    found = write_eval(tmp_path / "e.json", 60.0, fingerprint="aa")
    with pytest.raises(ResultError) as caught:
        scored([runs.measurement("half", fingerprint="bb")], [found])
    message = str(caught.value)
    assert "e.json' is not of the weights that" in message
    assert "b.json' measured as 'half': fingerprint aa and bb" in message
    # Where one of the two is not known, the name decides.
    for row in (runs.measurement("half"), runs.measurement("half", fingerprint="aa")):
        assert scored([row], [found]).passed


def test_weights_tell_the_model_where_the_name_does_not(tmp_path: Path, scored: Any) -> None:
    found = write_eval(tmp_path / "e.json", 60.0, model="vit_tiny", fingerprint="aa")
    half, small = (
        runs.measurement(name, precision=precision, fingerprint="aa", file=str(tmp_path / name))
        for name, precision in (("half.onnx", "fp32"), ("half.int8.onnx", "int8"))
    )
    other = runs.measurement("vit_tiny")
    result = scored([half, other], [found])
    assert [(row.model, row.verdict) for row in result.findings] == [
        ("half.onnx", "passed"),
        ("vit_tiny", "inconclusive"),
    ]
    with pytest.raises(UsageError, match=r"may be of any of half.onnx \(fp32\), half.int8.onnx"):
        scored([half, small], [found])
    Path(small.file).touch()
    named = write_eval(
        tmp_path / "e.json", 40.0, model="vit_tiny", fingerprint="aa", scored=small.file
    )
    result = scored([half, small], [named])
    assert [row.verdict for row in result.findings] == ["inconclusive", "failed"]


def test_an_eval_that_is_not_judged_is_refused(tmp_path: Path, scored: Any) -> None:
    half = write_eval(tmp_path / "half.json", 60.0)
    other = write_eval(tmp_path / "other.json", 60.0, model="other")
    rows = [runs.measurement("half")]
    with pytest.raises(
        UsageError, match=r"other.json' is of 'other', which was not measured; m.*: half"
    ):
        scored(rows, [half, other])
    with pytest.raises(
        UsageError, match=r"--eval .*half.json' is for a limit on accuracy; it needs"
    ):
        scored(rows, [half], max_size_growth="5%")


@pytest.mark.parametrize("accuracy", [-0.1, 100.1, 5000.0])
def test_an_accuracy_that_is_no_percentage_is_refused(
    tmp_path: Path, scored: Any, accuracy: float
) -> None:
    dg = report_runs.dg(60.0)
    domain = dg.domains["apple"].model_copy(update={"accuracy": accuracy})
    rows = [runs.measurement("half", artifact=str(tmp_path / "half"))]
    for where, change in (
        ("target_accuracy", {"target_accuracy": accuracy}),
        ("domains.apple.accuracy", {"domains": {**dg.domains, "apple": domain}}),
    ):
        wrong = dg.model_copy(update=change)
        message = f"is damaged: dg.{where} is {accuracy}; it must be from 0 to 100"
        with pytest.raises(ResultError, match=message):
            scored(rows, [write_eval(tmp_path / "e.json", 60.0, dg=wrong)])
    report_runs.write_artifact(
        tmp_path / "half", report_runs.record().model_copy(update={"dg": wrong})
    )
    with pytest.raises(ArtifactError, match=f"is damaged: dg.domains.apple.accuracy is {accuracy}"):
        scored(rows, [])


@pytest.fixture
def against(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Check a result of net.onnx against old.onnx on workers that play latencies back."""
    monkeypatch.chdir(tmp_path)
    for name in ("net.onnx", "old.onnx"):
        write_mlp(tmp_path / name)
    started: list[str] = []

    def run(latencies: dict[str, list[float]], row: Any = None, **options: Any) -> Any:
        def play(job: Job) -> RecordedWorker:
            started.append(f"{job.name} {job.batch}")
            taken = latencies[Path(job.source).stem]
            return RecordedWorker(
                [[int(ms * MS)] * 7 for ms in taken], Loaded(img_size=8, precision="fp32", macs=100)
            )

        row = row or runs.measurement("net", macs=100)
        path = runs.write(tmp_path / "b.json", runs.bench(row, cpu="Other CPU"))
        return check(path, against="old.onnx", start=play, **options), started

    return run


def test_against_measures_both_now(against: Any) -> None:
    result, started = against({"net": [6.0], "old": [5.0]})
    (found,) = result.findings
    assert (found.model, found.against, found.verdict) == ("net", "old", "failed")
    assert (found.current, found.baseline, found.ratio) == (6.0, 5.0, pytest.approx(1.2))
    assert started == ["old 1", "net 1"] * 2  # a failure is confirmed in new processes
    assert result.interleaved


def test_against_measures_longer_while_nothing_is_settled(against: Any) -> None:
    restless = [4.0, 7.0, 5.0, 6.5]
    result, started = against({"net": restless, "old": [5.0]}, min_time_s=1, max_time_s=4)
    assert of(result) == [("net", "median", "inconclusive")]
    assert len(started) == 2 * 3


def test_what_failed_in_one_pair_of_processes_only_is_inconclusive() -> None:
    def finding(ratio: float) -> Any:
        new, old = runs.measurement("net", 5 * ratio), runs.measurement("old", 5)
        result = runs.bench(new, old, compare=(("net", "old"),))
        limits = Limits.parse(max_regression=["10%"])
        return speed.compare(pairs.within(result, "x"), limits)

    (found,) = confirm(finding(1.3), finding(1.0))
    assert (found.verdict, found.ratio) == ("inconclusive", pytest.approx(1.3, rel=0.01))
    assert "the ratio was 1.0" in str(found.note)
    assert confirm(finding(1.3), finding(1.2))[0].verdict == "failed"
    assert confirm(finding(1.0), finding(1.3))[0].verdict == "passed"


def test_against_refuses_another_model_of_the_same_name(against: Any) -> None:
    with pytest.raises(ResultError, match=r"'net.onnx' is not the model .* macs 100 now, 99 then"):
        against({"net": [6.0], "old": [5.0]}, runs.measurement("net", macs=99))
    with pytest.raises(ResultError, match="precision fp32 now, int8 then"):
        against({"net": [6.0], "old": [5.0]}, runs.measurement("net", precision="int8"))
    with pytest.raises(UsageError, match="is an estimate, which cannot be measured again"):
        against({}, runs.measurement("net", estimated=True))
    with pytest.raises(UsageError, match="was measured with --host, --against measures here"):
        against({}, runs.measurement("net", device="cpu on board"))
    with pytest.raises(UsageError, match="max-time nan"):
        against({}, max_time_s=float("nan"))
    with pytest.raises(EdgepruneError, match=r"'gone.onnx' does not exist"):
        against({}, runs.measurement("gone"))


def test_against_needs_one_model(tmp_path: Path) -> None:
    rows = [runs.measurement(name) for name in ("a", "b")]
    path = runs.write(tmp_path / "b.json", runs.bench(*rows))
    with pytest.raises(UsageError, match=r"compares one model, .* holds 2: a, b"):
        check(path, against="old.onnx")
    with pytest.raises(UsageError, match=r"no model 'c'; accepted: a, b"):
        check(path, against="old.onnx", model="c")
    with pytest.raises(UsageError, match="exclude each other"):
        check(path, against="old.onnx", baseline=path)


@pytest.mark.parametrize(
    "text",
    [
        "10",
        "ten%",
        "-1%",
        "nan%",
        "inf%",
        "1e3%",
        "2000%",
        "mean:5%",
        ":5%",
        "p95:",
        "",
        "median:5%:6%",
    ],
)
def test_limits_that_are_not_accepted(text: str) -> None:
    with pytest.raises(UsageError, match="max-regression"):
        Limits.parse(max_regression=[text])


def test_limits() -> None:
    limits = Limits.parse(max_regression=["10%", "p95: 2.5 %"], max_size_growth="0%")
    assert [(x.metric, x.ratio) for x in limits.latency] == [("median", 1.1), ("p95", 1.025)]
    assert limits.size_ratio == 1.0
    with pytest.raises(UsageError, match="median is given twice"):
        Limits.parse(max_regression=["10%", "median:5%"])
    for value in (-1.0, 101.0, float("nan")):
        with pytest.raises(UsageError, match="min-accuracy"):
            Limits.parse(min_accuracy=value)


def test_calls_are_kept_in_order_and_within_bounds() -> None:
    taken = [np.array([1.5, 2.25]), np.array([3.0])]
    raw = pack(taken)
    assert (raw.rounds, raw.every) == ([2, 1], 1)
    assert [part.tolist() for part in unpack(raw)] == [[1.5, 2.25], [3.0]]
    generator = np.random.default_rng(0)
    many = [generator.lognormal(size=5000) for _ in range(20)]
    raw = pack(many)
    assert raw.every == 7
    assert sum(raw.rounds) <= MAX_CALLS
    assert len(raw.data) < 90_000
    ratio = np.median(np.concatenate(unpack(raw))) / np.median(np.concatenate(many))
    assert ratio == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize(
    "raw",
    [
        {"rounds": [], "data": ""},
        {"rounds": [10**12], "data": ""},
        {"rounds": [1] * 1001, "data": ""},
        {"rounds": [2, -1], "data": ""},
        {"rounds": [2], "data": "not base64!"},
        {"rounds": [2], "data": "AAAA"},
        {"rounds": [2], "every": 0, "data": ""},
        {"rounds": [3], "data": pack([np.ones(2)]).data},
        {"rounds": [1], "data": pack([np.ones(2)]).data},
        {"rounds": [2], "data": pack([np.array([1.0, np.nan])]).data},
        {"rounds": [2], "data": pack([np.array([1.0, -1.0])]).data},
    ],
)
def test_damaged_calls_are_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|data|latency"):
        unpack(RawCalls(**raw))


def test_calls_of_another_measurement_are_refused(stored: Any) -> None:
    good, other = runs.measurement("a", 5), runs.measurement("a", 6)
    damaged = good.model_copy(update={"raw": RawCalls(rounds=[10**12, 1], data="")})
    with pytest.raises(ResultError, match="calls of 'a' are damaged"):
        stored(runs.bench(damaged), runs.bench(good))
    mixed = good.model_copy(update={"raw": other.raw})
    with pytest.raises(ResultError, match=r"median of its calls is 5\.99\d* ms, not 4\.99"):
        stored(runs.bench(mixed), runs.bench(good))


def test_outputs_escape_what_a_name_may_hold(stored: Any) -> None:
    name = "a|b <i>&\"\x01\n::error::%, 'é'"
    rows = runs.bench(runs.measurement(name, 8)), runs.bench(runs.measurement(name, 5))
    result = stored(*rows)
    root = ElementTree.fromstring(junit(result))
    (suite,) = root
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    assert "max 1.1" in str(suite[0][0].get("message"))
    table = [line for line in markdown(result).splitlines() if line.startswith("|")]
    assert len(table) == 3
    assert "a\\|b &lt;i>&amp;" in table[2]
    (line,) = github_annotations(result)
    assert line.startswith("::error title=edgeprune%3A failed::a|b")
    assert "\n" not in line
    assert "%25" in line


def test_inconclusive_is_a_skipped_test_case_and_a_warning(stored: Any) -> None:
    row = runs.measurement("a")
    pair = runs.bench(row), runs.bench(runs.measurement("a", raw=None))
    result = stored(*pair)
    assert ElementTree.fromstring(junit(result))[0].get("skipped") == "1"
    assert github_annotations(result)[0].startswith("::warning title=edgeprune%3A inconclusive::")
    strict = stored(*pair, strict=True)
    assert ElementTree.fromstring(junit(strict))[0].get("failures") == "1"
    assert github_annotations(strict)[0].startswith("::error ")
    assert "not all is settled" in markdown(result)


def test_it_is_exported() -> None:
    assert edgeprune.check is check


def test_gpu_and_power_mode_are_part_of_a_machine() -> None:
    here = {**runs.ENVIRONMENT, "power_mode": "MAXN", "gpu": {"name": "A", "clock_mhz": 900}}
    other_clock = {**here, "gpu": {"name": "A", "clock_mhz": 300}}
    assert differences(here, other_clock) == []
    assert differences(here, {**here, "gpu": {"name": "B"}}) == ["gpu A and B"]
    assert differences(here, {**here, "power_mode": "15W"}) == ["power mode MAXN and 15W"]
    # A result from before they were recorded is not refused for it.
    assert differences(here, runs.ENVIRONMENT) == []
    assert identity(here)["gpu"] == "A"


def test_board_and_locked_clock_are_part_of_a_machine(stored: Any) -> None:
    board = {"board": "Orin Nano", "gpu": {"name": "gpu", "locked": True}}
    here = {**runs.ENVIRONMENT, **board}
    free = {**here, "gpu": {"name": "gpu", "locked": False}}
    assert differences(here, {**here, "board": "Orin NX"}) == ["board Orin Nano and Orin NX"]
    assert differences(here, free) == ["gpu clock locked and not locked"]
    # What a result does not tell is not held against it.
    unknown = {"board": None, "gpu": {"name": "gpu", "locked": None}}
    for other in (runs.ENVIRONMENT, {**here, **unknown}, {**here, "gpu": {"name": "gpu"}}):
        assert differences(here, other) == differences(other, here) == []
    assert (identity(here)["board"], identity(free)["gpu_clock"]) == ("Orin Nano", "not locked")
    assert (identity(runs.ENVIRONMENT)["board"], identity(here)["gpu_clock"]) == (None, "locked")
    row = runs.measurement("a")
    with pytest.raises(ResultError, match="different machines: board Orin Nano and Orin NX"):
        stored(runs.bench(row, **board), runs.bench(row, **board | {"board": "Orin NX"}))
