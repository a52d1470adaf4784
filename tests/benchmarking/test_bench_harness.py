from __future__ import annotations

import json
from pathlib import Path

import pytest
from onnx_files import write_mlp

from edgeprune.benchmarking import Candidate, bench
from edgeprune.benchmarking.harness import check_settings, check_threads, resolve_device
from edgeprune.benchmarking.runtimes.base import Job, Loaded
from edgeprune.benchmarking.workers import Peaks, RecordedWorker, Transfers
from edgeprune.environment import available_cores, cpu_name
from edgeprune.errors import ModelError, UnavailableError, UsageError
from edgeprune.schema import BenchResult, parse_document

MS = 1_000_000


def play(job: Job) -> RecordedWorker:
    """The baseline takes 8 ms a call, whatever else 2 ms."""
    slow = job.name.startswith("dense")
    latency = (8 if slow else 2) * job.batch * MS
    return RecordedWorker(
        [[latency] * 7],
        Loaded(img_size=8, precision="fp32", macs=600 if slow else 100, fingerprint="f"),
        Peaks(rss_bytes=50_000_000, device_bytes=None),
    )


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    return str(write_mlp(tmp_path / "dense.onnx")), str(write_mlp(tmp_path / "half.onnx", width=8))


def test_the_document_holds_what_was_measured(files: tuple[str, str]) -> None:
    dense, half = files
    result = bench([half], baseline=dense, batches=(1, 4), threads=1, start=play)
    assert [(m.model, m.batch) for m in result.measurements] == [
        ("dense", 1),
        ("half", 1),
        ("dense", 4),
        ("half", 4),
    ]
    last = result.measurements[-1]
    assert (last.file, last.artifact, last.threads, last.stop) == (half, None, 1, "stable")
    assert (last.samples, last.rounds, last.stopped_by) == (140, 20, "precision")
    assert last.latency_ms.p50 == last.latency_ms.p95 == 8.0
    assert last.latency_ms.p99 is None
    assert last.throughput_ips == pytest.approx(500)
    assert last.memory_mb.peak_rss == 50.0
    assert last.memory_mb.weights == pytest.approx(Path(half).stat().st_size / 1e6)
    assert last.fingerprint == "f"
    assert [(c.batch, c.speedup, c.ci95, c.macs_ratio) for c in result.comparisons] == [
        (1, 4.0, (4.0, 4.0), 6.0),
        (4, 4.0, (4.0, 4.0), 6.0),
    ]
    assert parse_document(json.loads(result.to_json()), "x", BenchResult, ModelError) == result


def test_the_speedup_is_that_within_the_rounds(files: tuple[str, str]) -> None:
    """Another program doubles every second round: pooled medians would be anywhere."""

    def disturbed(job: Job) -> RecordedWorker:
        latency = (8 if job.name == "dense" else 2) * MS
        quiet = [[latency] * 9] * 3
        return RecordedWorker([*quiet, *[[latency] * 9, [2 * latency] * 9, [latency] * 9] * 5])

    result = bench([files[1]], baseline=files[0], threads=1, start=disturbed)
    (comparison,) = result.comparisons
    assert (comparison.speedup, comparison.ci95) == (4.0, (4.0, 4.0))


def test_a_file_of_another_precision_than_was_asked_for_is_refused(
    files: tuple[str, str],
) -> None:
    def half_precision(job: Job) -> RecordedWorker:
        return RecordedWorker([[MS] * 7], Loaded(img_size=8, precision="fp16"))

    for scenario in ({}, {"scenario": "sustained", "duration_s": 3.0}):
        with pytest.raises(UsageError, match=r"'fp32' was asked for, 'half' is in fp16"):
            bench([files[1]], precision="fp32", start=half_precision, **scenario)
    result = bench([files[1]], precision="fp16", threads=1, start=half_precision)
    assert result.measurements[0].precision == "fp16"


def test_without_a_baseline_nothing_is_compared(files: tuple[str, str]) -> None:
    result = bench(list(files), threads=1, start=play)
    assert len(result.measurements) == 2
    assert result.comparisons == []


def test_all_workers_of_a_batch_live_together_and_end_with_it(files: tuple[str, str]) -> None:
    events: list[str] = []

    class Watched(RecordedWorker):
        def __init__(self, job: Job) -> None:
            super().__init__([[2 * MS] * 70])
            self.job = job

        def __enter__(self) -> Watched:
            events.append(f"+{self.job.name}{self.job.batch}")
            return self

        def __exit__(self, *error: object) -> None:
            events.append(f"-{self.job.name}{self.job.batch}")

    bench([files[1]], baseline=files[0], batches=(1, 2), threads=1, start=Watched)
    first, second = events[:4], events[4:]
    assert first == ["+dense1", "+half1", "-half1", "-dense1"]
    assert second == ["+dense2", "+half2", "-half2", "-dense2"]


def test_models_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(str(write_mlp(tmp_path / folder / "net.onnx")))
    names = [m.model for m in bench(paths, threads=1, start=play).measurements]
    assert names == [f"net ({path})" for path in paths]
    labelled = [Candidate(paths[0], label="dense"), Candidate(paths[1], label="pruned")]
    names = [m.model for m in bench(labelled, threads=1, start=play).measurements]
    assert names == ["dense", "pruned"]


def test_a_model_is_not_its_own_baseline_and_is_named_once(files: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="both the model and its baseline"):
        bench([files[0]], baseline=files[0], start=play)
    with pytest.raises(UsageError, match="named twice"):
        bench([files[0], files[0]], start=play)
    result = bench(list(files), baseline=files[0], threads=1, start=play)
    assert [c.model for c in result.comparisons] == ["half"]


def test_warnings_are_honest(files: tuple[str, str]) -> None:
    def noisy(job: Job) -> RecordedWorker:
        return RecordedWorker([[10 * MS, 12 * MS, 11 * MS], [13 * MS, 11 * MS, 900 * MS]])

    def run(**options: object) -> list[str]:
        return bench([files[0]], threads=1, min_time_s=0.1, start=noisy, **options).warnings

    many = 4 * available_cores()
    result = bench([files[0]], threads=many, min_time_s=0.1, start=noisy)
    told = result.environment["warnings"]
    assert any(line.startswith(f"{many} threads share ") for line in told)
    assert result.warnings[: len(told)] == told
    found = " | ".join(run(precision_target=None))
    assert "had not settled" in found
    assert "45 calls, too few for p90" in found
    assert "of the calls are outliers" in found
    assert "--precision-target" not in found
    late = next(line for line in run() if "--precision-target" in line)
    assert late.startswith("dense, batch 1: after --max-time the median is known to ")


def test_copies_to_the_device_are_apart_from_the_calls(files: tuple[str, str]) -> None:
    def on_a_device(job: Job) -> RecordedWorker:
        copies = Transfers([MS, 3 * MS, 2 * MS], [MS // 2]) if job.name == "half" else None
        return RecordedWorker([[2 * MS] * 7], transfers=copies)

    dense, half = bench(list(files), threads=1, start=on_a_device).measurements
    assert dense.transfer_ms is None
    assert half.transfer_ms is not None
    assert (half.transfer_ms.to_device, half.transfer_ms.to_host) == (2.0, 0.5)
    assert half.latency_ms.p50 == 2.0


def test_a_starved_process_is_marked(files: tuple[str, str]) -> None:
    def starved(job: Job) -> RecordedWorker:
        waited_ns = 3 * MS if job.name == "half" else MS // 10
        return RecordedWorker([[2 * MS] * 7], waited_ns=waited_ns)

    result = bench(list(files), threads=1, start=starved)
    assert [row.waiting_share for row in result.measurements] == [
        pytest.approx(0.1 / 14.1),
        pytest.approx(3 / 17),
    ]
    (told,) = [line for line in result.warnings if "starved" in line]
    assert told.startswith("half, batch 1: it was starved: for 18% of the time (more than 10%)")


def test_numbers_out_of_range_are_refused() -> None:
    assert check_settings((1,), None) == available_cores()
    for batches, threads in [((0,), 1), ((), 1), ((1,), 0)]:
        with pytest.raises(UsageError):
            check_settings(batches, threads)


def test_many_more_threads_than_cores_are_refused(files: tuple[str, str]) -> None:
    check_threads(64, 2, "this machine")
    check_threads(512, 128, "this machine")
    for threads, cores, most in [(65, 2, 64), (513, 128, 512)]:
        with pytest.raises(UsageError) as caught:
            check_threads(threads, cores, "b")
        assert str(caught.value) == (
            f"threads {threads} is not accepted; 1 to {most} are, with the {cores} cores of b"
        )
    with pytest.raises(UsageError, match="threads 1000000 is not accepted"):
        bench([files[0]], threads=1_000_000, start=play)


def test_a_profile_of_another_cpu_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    (root / "proc/cpuinfo").write_text("model name\t: Some CPU 9\n")
    own = tmp_path / "mine.toml"
    own.write_text(
        'name = "mine"\ntitle = "Mine"\nkind = "cpu"\ncpu = "Some CPU 9"\n'
        '[[source]]\ntext = "detect"\nverified = true\nof = ["cpu"]\n'
    )
    for device in ("cpu", "generic-cpu", str(own)):
        assert resolve_device(device, root) == "cpu"
    with pytest.raises(UnavailableError) as caught:
        resolve_device("amd-epyc-1-core", root)
    assert str(caught.value) == (
        "no such device here: 'amd-epyc-1-core' (AMD EPYC with AVX-512, 2 virtual cores)"
        " was asked for, this is Some CPU 9"
    )
    own.write_text('name = "mine"\ntitle = "Mine"\nkind = "cuda"\n')
    with pytest.raises(UnavailableError, match="'mine' was asked for, this is "):
        resolve_device(str(own), root)


def test_results_name_the_profile_of_a_file_and_not_its_path(
    files: tuple[str, str], tmp_path: Path
) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(
        f'name = "mine"\ntitle = "Mine"\nkind = "cpu"\ncpu = "{cpu_name()}"\n'
        '[[source]]\ntext = "detect"\nverified = true\nof = ["cpu"]\n'
    )
    (row,) = bench([files[0]], device=str(own), threads=1, start=play).measurements
    assert row.device == "mine"


def test_real_processes_with_onnxruntime(tmp_path: Path) -> None:
    dense = write_mlp(tmp_path / "dense.onnx", width=512, depth=6)
    half = write_mlp(tmp_path / "half.onnx", width=64, depth=2)
    result = bench([str(half)], baseline=str(dense), threads=1, min_time_s=0.3)
    (comparison,) = result.comparisons
    low, high = comparison.ci95
    assert low <= comparison.speedup <= high
    assert low > 2
    for row in result.measurements:
        times = row.latency_ms
        assert 0 < times.min <= times.ci95[0] <= times.p50 <= times.ci95[1]
        assert row.memory_mb.peak_rss
