from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx_files import write_mlp

sys.path.insert(0, str(Path(__file__).parents[1] / "gate"))
import gate_runs as runs

from edgeprune.benchmarking import bench, scenarios
from edgeprune.benchmarking.runtimes.base import Job, Loaded
from edgeprune.benchmarking.scenarios.throughput import saturated
from edgeprune.benchmarking.workers import RecordedWorker
from edgeprune.cli.bench_lines import bench_lines
from edgeprune.errors import ModelError, ResultError, UsageError
from edgeprune.gate import check
from edgeprune.reporting.collect import collect
from edgeprune.schema import BenchResult, parse_document

MS = 1_000_000


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    return str(write_mlp(tmp_path / "dense.onnx")), str(write_mlp(tmp_path / "half.onnx", width=8))


def device(overhead_ms: float, per_image_ms: dict[str, float]) -> Callable[[Job], RecordedWorker]:
    """A device that takes so long per call and per image."""

    def start(job: Job) -> RecordedWorker:
        call_ms = overhead_ms + per_image_ms[job.name] * job.batch
        return RecordedWorker([[int(call_ms * MS)] * 5])

    return start


def test_latency_is_the_scenario_unless_another_is_asked_for(files: tuple[str, str]) -> None:
    assert scenarios.names() == ["latency", "paced", "sustained", "throughput"]
    result = bench([files[1]], threads=1, start=device(1, {"half": 1}))
    assert (result.scenario, result.saturation, result.period_ms) == ("latency", None, None)
    assert [row.batch for row in result.measurements] == [1]
    old = json.loads(result.to_json())
    for name in ("scenario", "period_ms", "duration_s", "saturation"):
        del old[name]
    for row in old["measurements"]:
        for name in ("stopped_by", "waiting_share", "dropped", "sustained"):
            del row[name]
    assert parse_document(old, "old", BenchResult, ModelError).scenario == "latency"


def test_the_baseline_takes_its_memory_last(files: tuple[str, str]) -> None:
    """The first process gets the worst pages; that must not flatter what is compared with it."""
    loaded: list[str] = []

    class Loading(RecordedWorker):
        def __init__(self, job: Job) -> None:
            super().__init__([[MS] * 5])
            self.name = job.name

        def load(self) -> Loaded:
            loaded.append(self.name)
            return super().load()

    result = bench([files[1]], baseline=files[0], threads=1, start=Loading)
    assert loaded == ["half", "dense"]
    assert [row.model for row in result.measurements] == ["dense", "half"]


def test_who_is_alone_waits_for_nobody(files: tuple[str, str]) -> None:
    workers: list[RecordedWorker] = []

    def start(job: Job) -> RecordedWorker:
        workers.append(device(1, {"dense": 1, "half": 1})(job))
        return workers[-1]

    bench([files[1]], threads=1, start=start)
    bench([files[1]], baseline=files[0], threads=1, start=start)
    assert [True in worker.rests for worker in workers] == [False, True, True]


def test_throughput_grows_the_batch_until_it_is_saturated(files: tuple[str, str]) -> None:
    dense, half = files
    start = device(8, {"dense": 4, "half": 1})
    result = bench([half], baseline=dense, threads=1, scenario="throughput", start=start)
    first, second = result.saturation or []
    # dense: 1000 b / (8 + 4 b) comes near 250; half: near 1000
    assert [point.batch for point in first.points] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert (first.model, first.batch, first.ended_by) == ("dense", 128, "saturated")
    assert first.throughput_ips == pytest.approx(128_000 / (8 + 4 * 128))
    assert (second.batch, second.ended_by) == (256, "largest_batch")
    assert first.over_baseline is None
    assert second.over_baseline == pytest.approx(second.throughput_ips / first.throughput_ips)
    assert [row.model for row in result.measurements] == ["dense"] * 8 + ["half"] * 9
    assert {row.batch for row in result.comparisons} == {point.batch for point in first.points}
    lines = list(bench_lines(result))
    assert lines[0].startswith("dense: highest throughput 246 img/s at batch 128; larger batches")
    assert "at batch 256, 3.94x the baseline; still growing" in lines[1]


def test_the_batches_of_a_sweep_can_be_given(files: tuple[str, str]) -> None:
    result = bench(
        [files[1]],
        threads=1,
        scenario="throughput",
        batches=[8, 1],
        start=device(100, {"half": 1}),
    )
    (found,) = result.saturation or []
    assert [point.batch for point in found.points] == [1, 8]
    assert found.ended_by == "largest_batch"


def test_a_batch_that_does_not_fit_ends_the_sweep_and_is_told(files: tuple[str, str]) -> None:
    def start(job: Job) -> RecordedWorker:
        if job.batch >= limit:
            raise ModelError("out of memory")
        return device(100, {"half": 1})(job)

    limit = 8
    result = bench([files[1]], threads=1, scenario="throughput", start=start)
    (found,) = result.saturation or []
    assert (found.batch, found.ended_by) == (4, "failed")
    assert any("half: batch 8 ended its sweep" in w for w in result.warnings)
    limit = 1
    with pytest.raises(ModelError, match="out of memory"):
        bench([files[1]], threads=1, scenario="throughput", start=start)


def test_a_model_that_fails_does_not_end_the_sweep_of_another(files: tuple[str, str]) -> None:
    def start(job: Job) -> RecordedWorker:
        if job.name == "dense" and job.batch > 4:
            raise UsageError("'dense' has the fixed batch size 4")
        return device(100, {"dense": 1, "half": 1})(job)

    result = bench([files[1]], baseline=files[0], threads=1, scenario="throughput", start=start)
    dense, half = result.saturation or []
    assert (dense.batch, dense.ended_by) == (4, "failed")
    assert half.ended_by != "failed"
    assert half.batch > 64


def test_two_sizes_in_a_row_without_a_gain_are_saturation() -> None:
    assert not saturated([100, 101])
    assert saturated([100, 101, 104])
    assert not saturated([100, 90, 106])
    assert not saturated([100, 150, 151])
    assert saturated([100, 150, 151, 140])


def test_paced_calls_come_with_the_period(files: tuple[str, str]) -> None:
    seconds: list[tuple[float | None, float]] = []

    class Paced(RecordedWorker):
        def __init__(self, job: Job) -> None:
            super().__init__([[2 * MS] * 3], dropped=1)
            self._period = job.period_s

        def round(self, seconds_: float, lead_in_s: float, rest: bool = True):  # type: ignore[no-untyped-def]
            seconds.append((self._period, seconds_))
            return super().round(seconds_, lead_in_s, rest)

    result = bench(
        [files[1]], baseline=files[0], threads=1, scenario="paced", period_s=0.25, start=Paced
    )
    assert (result.scenario, result.period_ms) == ("paced", 250.0)
    assert {period for period, _ in seconds} == {0.25}
    # Warm-up windows have room for a call too.
    assert min(time for _, time in seconds) >= 3.0 / 15
    assert seconds[0][1] == 0.25
    (row,) = [row for row in result.measurements if row.model == "half"]
    assert (row.latency_ms.p50, row.dropped) == (2.0, row.rounds)
    assert len(result.comparisons) == 1
    assert "a request every 250 ms; 15 were dropped" in next(bench_lines(result))
    whole = result.model_copy(update={"measurements": [row.model_copy(update={"dropped": 0})]})
    assert next(bench_lines(whole)).endswith("a request every 250 ms; none was dropped")


def test_sustained_load_shows_the_rate_over_time(files: tuple[str, str]) -> None:
    workers: list[RecordedWorker] = []

    def heating(job: Job) -> RecordedWorker:
        workers.append(RecordedWorker([[(10 + window) * MS] * 4 for window in range(30)]))
        return workers[-1]

    result = bench(
        [files[0]], batches=[2], threads=1, scenario="sustained", duration_s=60, start=heating
    )
    (row,) = result.measurements
    assert row.sustained is not None
    assert (row.sustained.window_s, len(row.sustained.rates_ips)) == (2.0, 30)
    assert row.sustained.rates_ips[0] == pytest.approx(200)
    first, last = [2000 / ms for ms in (10, 11, 12)], [2000 / ms for ms in (37, 38, 39)]
    assert row.sustained.last_over_first == pytest.approx(sum(last) / sum(first))
    assert (row.stopped_by, row.warmup, row.stop, row.rounds) == ("duration", 0, None, 30)
    assert (workers[0].rests, result.duration_s) == ([False] * 30, 60)
    assert next(bench_lines(result)).startswith("dense, batch 2: after 60 s of load 28.8% of")
    assert not any("had not settled" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenario": "offline"}, "unknown scenario 'offline'; accepted: latency, paced"),
        ({"scenario": "paced"}, "--scenario paced needs --period"),
        ({"scenario": "sustained"}, "--scenario sustained needs --duration"),
        ({"period_s": 0.1}, "--period is not for --scenario latency"),
        ({"scenario": "paced", "period_s": 0.1, "duration_s": 5}, "--duration is not for"),
        ({"scenario": "paced", "period_s": 0.0}, "period 0 is not accepted"),
        ({"scenario": "paced", "period_s": float("nan")}, "period nan is not accepted"),
        ({"scenario": "paced", "period_s": 1e-9}, "period of 1e-06 ms is not accepted; 0.001 ms"),
        (
            {"scenario": "paced", "period_s": 1e6},
            "period of 1e+09 ms is not accepted; it has to fit into max-time, 30 s",
        ),
        (
            {"scenario": "paced", "period_s": 0.2, "min_time_s": 0.1, "max_time_s": 0.1},
            "period of 200 ms is not accepted; it has to fit into max-time, 0.1 s",
        ),
        ({"scenario": "sustained", "duration_s": 2.0}, "duration 2 is not accepted; 3 seconds"),
        (
            {"scenario": "sustained", "duration_s": 9.0, "baseline": "vit_tiny_patch16_224"},
            "--baseline is not for --scenario sustained",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    files: tuple[str, str], options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        bench([files[1]], threads=1, start=device(1, {"half": 1}), **options)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_the_gate_compares_what_was_measured_alike(tmp_path: Path) -> None:
    plain = runs.bench(runs.measurement("a"))
    paced = plain.model_copy(update={"scenario": "paced", "period_ms": 100.0})
    slower = paced.model_copy(update={"period_ms": 200.0})
    names = {"plain": plain, "paced": paced, "slower": slower}
    paths = {name: runs.write(tmp_path / f"{name}.json", row) for name, row in names.items()}
    assert check(paths["paced"], baseline=paths["paced"]).passed
    with pytest.raises(ResultError, match="measured alike: scenario latency and paced"):
        check(paths["plain"], baseline=paths["paced"])
    with pytest.raises(ResultError, match=r"period_ms 100\.0 and 200\.0"):
        check(paths["paced"], baseline=paths["slower"])
    with pytest.raises(UsageError, match="is of the scenario 'paced'; --against measures latency"):
        check(paths["paced"], against="x.onnx")


def test_a_report_shows_calls_without_a_pause(tmp_path: Path) -> None:
    paced = runs.bench(runs.measurement("a")).model_copy(update={"scenario": "paced"})
    path = runs.write(tmp_path / "paced.json", paced)
    with pytest.raises(ResultError, match="of the scenario 'paced'; a report shows latency and"):
        collect([path])
