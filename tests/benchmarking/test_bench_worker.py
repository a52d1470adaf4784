from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from onnx_files import write_mlp

from edgeprune.benchmarking import run_queue
from edgeprune.benchmarking.run_queue import (
    other_threads_running,
    starved,
    thread_times,
    waiting_share,
)
from edgeprune.benchmarking.runtimes.base import Job, room_for_images
from edgeprune.benchmarking.worker import paced_calls, timed_calls, wait_until_idle
from edgeprune.benchmarking.workers import SubprocessWorker
from edgeprune.errors import ModelError, UnavailableError, UsageError


def job(path: Path | str, **changes: object) -> Job:
    fields = {"name": "net", "runtime": "onnxruntime", "device": "cpu", "batch": 1, "threads": 1}
    return Job(**{**fields, "source": str(path), "seed": 0, **changes})  # type: ignore[arg-type]


def busy_threads(worker: SubprocessWorker) -> int:
    """How many threads of the worker computed, or wanted to, for most of one round."""
    process = Path(f"/proc/{worker.pid}")
    before = thread_times(process)
    worker.round(0.4, 0.1)
    after = thread_times(process)
    wanted = [sum(after[name]) - sum(before.get(name, (0, 0))) for name in after]
    return sum(nanoseconds > 60_000_000 for nanoseconds in wanted)


def test_calls_are_timed_until_the_time_is_over_and_once_at_least() -> None:
    now = [0]

    def call() -> None:
        now[0] += 400

    assert timed_calls(call, 1e-6, lambda: now[0]) == [400, 400, 400]
    assert timed_calls(call, 0, lambda: now[0]) == [400]


class Clock:
    """Time that passes while something sleeps or runs, in ns."""

    def __init__(self) -> None:
        self.now = 1000

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)


def test_paced_calls_start_with_the_period() -> None:
    clock, starts = Clock(), []

    def call() -> None:
        starts.append(clock.now - 1000)
        clock.now += 300

    found = paced_calls(call, 4e-6, 1e-6, clock, clock.sleep)
    assert found == ([300, 300, 300, 300], 0)
    assert starts == [1000, 2000, 3000, 4000]
    assert paced_calls(call, 1e-9, 1e-6, clock, clock.sleep) == ([300], 0)


def test_a_request_that_comes_while_the_last_one_runs_is_dropped() -> None:
    clock, starts = Clock(), []
    durations = iter([2500, 100, 100])

    def call() -> None:
        starts.append(clock.now - 1000)
        clock.now += next(durations)

    # The first runs from 1000 to 3500: those at 2000 and 3000 have nobody to answer them.
    found = paced_calls(call, 5e-6, 1e-6, clock, clock.sleep)
    assert found == ([2500, 100, 100], 2)
    assert starts == [1000, 4000, 5000]


def test_a_period_shorter_than_a_call_leaves_one_call_and_drops_the_rest() -> None:
    clock = Clock()

    def call() -> None:
        clock.now += 5_000_000

    assert paced_calls(call, 4e-3, 1e-9, clock, clock.sleep) == ([5_000_000], 3_999_999)


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_a_batch_without_memory_for_its_images_is_refused(tmp_path: Path, runtime: str) -> None:
    dense = {"num_classes": 4, "img_size": 32, "pretrained": False, "weights": None, "seed": 0}
    if runtime == "onnxruntime":
        refused = job(write_mlp(tmp_path / "net.onnx", size=32), batch=10**12)
    else:
        refused = job("vit_tiny_patch16_224", runtime=runtime, dense=dense, batch=10**12)
    with (
        SubprocessWorker(refused) as worker,
        pytest.raises(UsageError, match=r"^batch 10{12} is .* of 32 x 32 pixels, 12288000000 MB;"),
    ):
        worker.load()


@pytest.mark.parametrize("batch", [10**18, 10**30, 10**400])
def test_a_batch_beyond_all_memory_is_refused_alike(batch: int) -> None:
    with (
        pytest.raises(UsageError, match="there is no memory for its images of 8 x 8 pixels"),
        room_for_images(job("net.onnx", batch=batch), 8),
    ):
        np.random.default_rng(0).standard_normal((batch, 3, 8, 8), dtype=np.float32)


def test_without_rest_nothing_waits_and_paced_rounds_have_no_lead_in(tmp_path: Path) -> None:
    path = write_mlp(tmp_path / "net.onnx")
    with SubprocessWorker(job(path, period_s=0.001)) as worker:
        worker.load()
        taken = worker.round(0.004, 0.02, rest=False)
    assert taken.lead_in == 0
    assert len(taken.samples_ns) + taken.dropped == 4


@pytest.mark.parametrize("threads", [1, 2])
def test_onnxruntime_computes_on_as_many_threads_as_asked(tmp_path: Path, threads: int) -> None:
    path = write_mlp(tmp_path / "net.onnx", width=768, depth=4, size=16)
    with SubprocessWorker(job(path, threads=threads, batch=16)) as worker:
        worker.load()
        assert busy_threads(worker) == threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are chosen on Linux only")
def test_a_process_that_shares_its_core_is_starved(tmp_path: Path) -> None:
    core = {min(os.sched_getaffinity(0))}
    path = write_mlp(tmp_path / "net.onnx")
    with (
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other,
        SubprocessWorker(job(path)) as worker,
    ):
        try:
            worker.load()
            for pid in (other.pid, worker.pid):
                os.sched_setaffinity(pid, core)
            taken = worker.round(0.5, 0.0)
        finally:
            other.kill()
    if taken.ran_ns is None or taken.waited_ns is None:
        pytest.skip("this kernel does not count")
    assert starved(waiting_share(taken.ran_ns, taken.waited_ns))


def test_torch_computes_on_as_many_threads_as_asked() -> None:
    dense = {"num_classes": 4, "img_size": 64, "pretrained": False, "weights": None, "seed": 0}
    with SubprocessWorker(
        job("vit_tiny_patch16_224", runtime="torch", batch=8, dense=dense)
    ) as worker:
        loaded = worker.load()
        assert busy_threads(worker) == 1
    assert loaded.img_size == 64
    assert loaded.weights_bytes == 4 * (loaded.params or 0)
    assert loaded.macs


def test_the_onnxruntime_process_loads_no_torch_and_counts_its_own_memory(tmp_path: Path) -> None:
    path = write_mlp(tmp_path / "net.onnx", width=1024, depth=6, size=8)
    ballast = np.ones(50_000_000)  # 400 MB here, which must not be counted there
    with SubprocessWorker(job(path)) as worker:
        worker.load()
        maps = Path(f"/proc/{worker.pid}/maps").read_text()
        peak = worker.peaks().rss_bytes
    assert ballast.nbytes == 400_000_000
    assert "onnxruntime" in maps
    assert not [word for word in ("libtorch", "/torch/", "/onnx/", "pydantic") if word in maps]
    assert peak is not None
    assert path.stat().st_size < peak < 250_000_000


def test_a_round_ends_when_the_threads_have_come_to_rest(tmp_path: Path) -> None:
    """ONNX Runtime's idle threads spin, and would slow the next process's round down."""
    path = write_mlp(tmp_path / "net.onnx", width=512, depth=4, size=16)
    with SubprocessWorker(job(path, threads=2, batch=8)) as worker:
        worker.load()
        assert worker.round(0.05, 0.01).idle
        assert psutil.Process(worker.pid).cpu_percent(0.1) < 20


def test_threads_that_run_are_seen_without_the_one_that_looks() -> None:
    busy, stop = threading.Event(), threading.Event()

    def spin() -> None:
        busy.set()
        while not stop.is_set():
            sum(range(1000))

    before = other_threads_running()
    if before is None:
        pytest.skip("this system does not tell the state of threads")
    thread = threading.Thread(target=spin)
    thread.start()
    try:
        assert busy.wait(10)
        assert any(other_threads_running() for _ in range(1000))
        assert not wait_until_idle(limit_s=0.05)
    finally:
        stop.set()
        thread.join()
    assert wait_until_idle()


def test_where_states_are_not_told_the_time_used_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_queue, "other_threads_running", lambda: None)
    assert other_threads_running(Path("/no/such/process")) is None
    assert wait_until_idle()


def huge_bytes(worker: SubprocessWorker) -> int:
    """How much of a worker's memory is in huge pages."""
    for line in Path(f"/proc/{worker.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("AnonHugePages:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel tells no huge pages")


def test_memory_comes_in_huge_pages_where_they_are_asked_for(tmp_path: Path) -> None:
    allowed = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    libc, version = platform.libc_ver()
    if not allowed.exists() or "[madvise]" not in allowed.read_text():
        pytest.skip("this system does not give huge pages to those who ask, and to nobody else")
    if libc != "glibc" or tuple(map(int, version.split("."))) < (2, 35):
        pytest.skip("this C library does not ask for huge pages")
    path = write_mlp(tmp_path / "net.onnx", width=1024, depth=6, size=8)
    found = {}
    for asked in (False, True):
        with SubprocessWorker(job(path, huge_pages=asked)) as worker:
            worker.load()
            found[asked] = huge_bytes(worker)
    assert found[False] == 0
    assert found[True] > path.stat().st_size / 2


def test_metadata_is_read_from_the_file(tmp_path: Path) -> None:
    metadata = {
        "edgeprune.macs": "4608",
        "edgeprune.params": "77",
        "edgeprune.fingerprint": "abc",
        "edgeprune.precision": "fp32",
    }
    with SubprocessWorker(job(write_mlp(tmp_path / "net.onnx", metadata=metadata))) as worker:
        loaded = worker.load()
    assert (loaded.macs, loaded.params, loaded.img_size) == (4608, 77, 8)
    assert loaded.fingerprint == "abc"


def test_a_fixed_batch_size_is_no_other(tmp_path: Path) -> None:
    path = write_mlp(tmp_path / "net.onnx", batch=2)
    with SubprocessWorker(job(path, batch=2)) as worker:
        worker.load()
    with (
        SubprocessWorker(job(path, batch=4)) as worker,
        pytest.raises(UsageError, match="fixed batch size 2; --batch 4"),
    ):
        worker.load()


def test_a_damaged_file_is_a_model_error(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no protobuf" * 10)
    with (
        SubprocessWorker(job(path)) as worker,
        pytest.raises(ModelError, match="ONNX Runtime cannot load 'net'"),
    ):
        worker.load()


def test_cuda_is_not_replaced_by_the_cpu(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine may have CUDA")
    path = write_mlp(tmp_path / "net.onnx")
    with (
        SubprocessWorker(job(path, device="cuda")) as worker,
        pytest.raises(UnavailableError, match="no CUDAExecutionProvider here; this build offers"),
    ):
        worker.load()


def test_a_worker_that_is_killed_is_reported_and_reaped(tmp_path: Path) -> None:
    path = write_mlp(tmp_path / "net.onnx")
    with SubprocessWorker(job(path)) as worker:
        worker.load()
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(UnavailableError, match=r"measured 'net' died \(killed by SIGKILL\)"):
            worker.round(0.01, 0.01)
    assert not psutil.pid_exists(worker.pid)


def test_a_worker_that_crashes_is_reported_with_its_last_line(tmp_path: Path) -> None:
    with (
        SubprocessWorker(job(tmp_path / "x", runtime="base")) as worker,
        pytest.raises(UsageError, match="unknown runtime 'base'"),
    ):
        worker.load()
    with (
        SubprocessWorker(job(tmp_path / "x")) as worker,
        pytest.raises(UnavailableError, match=r"died \(exit code 1\): ValueError: 'memory' before"),
    ):
        worker.peaks()


def test_an_exception_in_the_parent_ends_the_worker(tmp_path: Path) -> None:
    path = write_mlp(tmp_path / "net.onnx")
    worker = SubprocessWorker(job(path))

    def interrupted() -> None:
        with worker:
            worker.load()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not psutil.pid_exists(worker.pid)
