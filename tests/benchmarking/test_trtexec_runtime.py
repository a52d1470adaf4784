"""The runtime ``trtexec``, with a script that answers as trtexec does in its place."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from engine_stand_ins import install_trtexec, record, write_engine

from edgeprune.benchmarking import bench, runtimes
from edgeprune.benchmarking.energy.tegrastats import RailMeter
from edgeprune.benchmarking.runtimes import trtexec
from edgeprune.benchmarking.runtimes.base import Job
from edgeprune.cli import main
from edgeprune.errors import EngineError, ModelError, ResultError, UnavailableError, UsageError
from edgeprune.gate import check
from edgeprune.gate.remeasure import remeasure

WORDS = ["--runtime", "trtexec", "--min-time", "1", "--precision-target", "none"]


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = install_trtexec(tmp_path / "bin", "10.3")
    monkeypatch.setenv("TRTEXEC", str(path))
    return path


def job(source: Path, **changes: Any) -> Job:
    fields = {"device": "cuda", "batch": 1, "threads": 1, "seed": 0}
    return Job(name="half", runtime="trtexec", source=str(source), **{**fields, **changes})


def run(source: Path, **changes: Any) -> None:
    """Load an engine, which runs it once."""
    with trtexec.start(job(source, **changes)) as worker:
        worker.load()


def left(folder: Path) -> list[str]:
    """Return what runs on a folder, but this process."""
    lines = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    return [line for line in lines if f"{folder}/bin/trtexec" in line]


def test_engines_beside_a_baseline(tmp_path: Path) -> None:
    half = write_engine(tmp_path / "$(touch pwned) half.engine", ms=1.0)
    dense = write_engine(tmp_path / "dense.engine", ms=3.0)
    result = bench([half], baseline=dense, runtime="trtexec", device="cuda", batches=(4,))
    row = result.measurements[-1]
    assert (row.runtime, row.device, row.precision, row.batch) == ("trtexec", "cuda", "fp16", 4)
    assert (row.samples, row.rounds, row.stop, row.stopped_by) == (200, 5, "stable", "precision")
    assert row.latency_ms.p50 == row.latency_ms.p95 == 4.0
    assert row.latency_ms.p99 is None
    assert row.throughput_ips == pytest.approx(1000.0)
    # three windows and nothing of the single second that loading ran
    assert row.warmup == 3 * (40 + 50)
    assert (row.macs, row.params, row.fingerprint) == (1000, 10, "f" * 64)
    assert row.memory_mb.weights == pytest.approx(half.stat().st_size / 1e6)
    assert row.memory_mb.device_peak is None
    assert (row.transfer_ms, row.waiting_share, row.energy_mj) == (None, None, None)
    assert [c.speedup for c in result.comparisons] == [3.0]
    assert result.environment["runtime"] == {"runtime": "trtexec", "why": "asked for"}
    facts = result.environment["trtexec"]
    assert facts["version"] == "10.3.0"
    assert result.environment["versions"]["trtexec"] == "10.3.0"
    assert "--noDataTransfers" in facts["options"]
    bound = [line for line in result.warnings if "bound by Enqueue Time" in line]
    assert len(bound) == 2
    assert not Path("pwned").exists()
    assert left(tmp_path) == []


def test_the_gate_measures_engines_again(tmp_path: Path) -> None:
    half = write_engine(tmp_path / "half.engine", ms=1.0)
    dense = write_engine(tmp_path / "dense.engine", ms=3.0)
    quick: dict[str, Any] = {"min_time_s": 1.0, "precision_target": None}
    first = bench([half], runtime="trtexec", device="cuda", **quick)
    (again,) = remeasure(first.measurements, dense, min_time_s=1.0)
    assert [c.speedup for c in again.comparisons] == [3.0]


def test_the_gate_refuses_engines_of_two_versions(tmp_path: Path) -> None:
    quick: dict[str, Any] = {"min_time_s": 1.0, "precision_target": None}
    engine = write_engine(tmp_path / "half.engine")
    result = bench([engine], runtime="trtexec", device="cuda", **quick)
    other = dict(result.environment["versions"], trtexec="8.6.2")
    base = result.model_copy(update={"environment": {**result.environment, "versions": other}})
    (tmp_path / "new.json").write_text(result.to_json())
    (tmp_path / "base.json").write_text(base.to_json())
    with pytest.raises(ResultError, match=r"trtexec 10\.3\.0 and 8\.6\.2"):
        check(tmp_path / "new.json", baseline=tmp_path / "base.json")


def test_what_trtexec_is_told(tmp_path: Path) -> None:
    varied = record()
    assert trtexec.engine_shapes(varied, 2) == ("--shapes=images:2x3x8x8",)
    fixed = record(profile={"min": 4, "opt": 4, "max": 4})
    assert trtexec.engine_shapes(fixed, 4) == ()


def test_calls_of_the_warm_up_are_no_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_trtexec(tmp_path / "bin", "8.6")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRTEXEC", "bin/trtexec-8.6")
    engine = write_engine(tmp_path / "old.engine", {"tensorrt": "8.6.2"})
    with trtexec.start(job(engine)) as worker:
        worker.load()
        taken = worker.round(1.0, 0.2)
    assert taken.samples_ns == [1_500_000] * 40
    assert taken.lead_in == 20


@pytest.mark.parametrize(
    ("engine", "kind", "message"),
    [
        ({"does": "fails"}, ModelError, r"fails with 'half', batch 1: Error\[1\]: no kernel image"),
        ({"does": "dies"}, UnavailableError, r"died \(killed by SIGKILL\) with 'half'"),
        ({"does": "lies"}, ResultError, "a time of 'half' that cannot be true"),
        ({"does": "forgets"}, ResultError, "of 'half' cannot be read: FileNotFoundError"),
    ],
)
def test_a_run_that_fails(
    tmp_path: Path, engine: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        run(write_engine(tmp_path / "half.engine", **engine))
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nan",
        "{}",
        "[]",
        "[1]",
        '[{"computeMs": 1.0}]',
        '[{"startComputeMs": 500, "computeMs": "x"}]',
        '[{"startComputeMs": 500, "computeMs": NaN}]',
        '[{"startComputeMs": 500, "computeMs": 0}]',
        '[{"startComputeMs": 499, "computeMs": 1}]',
    ],
)
def test_times_that_make_no_sense(tmp_path: Path, text: str) -> None:
    (tmp_path / "times.json").write_text(text)
    with pytest.raises(ResultError, match="'half'"):
        trtexec.read_times(tmp_path / "times.json", 500, "half")


def test_a_log_that_makes_no_sense_does_not_cost_the_times(tmp_path: Path) -> None:
    with trtexec.start(job(write_engine(tmp_path / "half.engine", does="babbles"))) as worker:
        worker.load()
        taken = worker.round(1.0, 0.5)
    assert len(taken.samples_ns) == 40
    assert taken.notes == ("the trtexec log holds no latency",)


def test_a_run_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    engine = write_engine(tmp_path / "half.engine", does="hangs", pids=str(pids))
    with pytest.raises(UnavailableError, match=r"did not end within 3 s with 'half'"):
        trtexec.TrtexecWorker(job(engine), limit_s=2.0).load()
    assert len(pids.read_text().split()) == 2
    assert not [pid for pid in pids.read_text().split() if _runs(int(pid))]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_no_process_and_no_file(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    pids, scratch = tmp_path / "pids", tmp_path / "scratch"
    scratch.mkdir()
    engine = write_engine(tmp_path / "half.engine", does="hangs", pids=str(pids))
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeprune", "bench", str(engine), *WORDS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    deadline = time.monotonic() + 60
    while not (pids.exists() and pids.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == code, err
    assert "Traceback" not in out + err
    assert not [pid for pid in pids.read_text().split() if _runs(int(pid))]
    assert list(scratch.iterdir()) == []


def _runs(pid: int, seconds: float = 5.0) -> bool:
    """Tell whether a process still runs after so long; one that nobody has reaped does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    ("built", "batch", "kind", "message"),
    [
        ({"tensorrt": "10.9.0"}, 1, UnavailableError, "is for TensorRT 10.9.0; this machine has"),
        ({"flavour": "tensorrt_rtx", "tensorrt": "1.7"}, 1, UnavailableError, "TensorRT-RTX 1.7"),
        ({}, 5, UsageError, "a batch of 5 is not accepted by .*; 1 to 4 are"),
    ],
)
def test_engines_that_do_not_fit_are_refused(
    tmp_path: Path, built: dict[str, Any], batch: int, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        run(write_engine(tmp_path / "half.engine", built), batch=batch)


def test_an_engine_is_for_a_gpu_and_described_beside(tmp_path: Path) -> None:
    engine = write_engine(tmp_path / "half.engine")
    with pytest.raises(UsageError, match="runs on a GPU; --device cpu was asked for"):
        run(engine, device="cpu")
    engine.write_text('{"ms": 2.0}')
    with pytest.raises(EngineError, match="is not the engine that"):
        run(engine)


def test_a_machine_without_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRTEXEC", str(tmp_path / "nowhere"))
    engine = write_engine(tmp_path / "half.engine")
    assert main(["bench", str(engine), *WORDS]) == 3
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: runtime 'trtexec' is not available here: TRTEXEC=")
    assert "set TRTEXEC to its path" in hint


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scenario", "paced", "--period", "30"], "accepted: latency, throughput"),
        (["--scenario", "sustained", "--duration", "9"], "accepted: latency, throughput"),
        (["--precision", "fp16"], "no --precision"),
        (["--device", "cpu"], "an engine runs on a GPU"),
    ],
)
def test_what_it_cannot_do(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = write_engine(tmp_path / "half.engine")
    assert main(["bench", str(engine), *WORDS, *words]) == 2
    assert message in capsys.readouterr().err


def test_other_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "net.onnx", *WORDS]) == 2
    assert "'trtexec' measures engine files; 'net.onnx' is none" in capsys.readouterr().err


def test_throughput_ends_where_the_engine_does(tmp_path: Path) -> None:
    engine = write_engine(tmp_path / "half.engine")
    result = bench(
        [engine],
        runtime="trtexec",
        device="cuda",
        threads=1,
        min_time_s=1.0,
        precision_target=None,
        scenario="throughput",
        batches=(4, 8),
    )
    assert result.saturation is not None
    assert (result.saturation[0].batch, result.saturation[0].ended_by) == (4, "failed")
    assert any("a batch of 8 is not accepted" in line for line in result.warnings)


def test_energy_is_read_around_the_timed_calls_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("")
    source = {"source": "tegrastats", "spec": RailMeter(log).spec}
    engine = write_engine(tmp_path / "half.engine", does="takes its time")
    with trtexec.start(job(engine, energy=source)) as worker:
        worker.load()
        taken = worker.round(1.0, 0.5)
        quick = dataclasses.replace(job(write_engine(tmp_path / "quick.engine"), energy=source))
    assert taken.energy is not None
    (_, start_ns), (_, end_ns) = taken.energy
    assert 0.9e9 < end_ns - start_ns < 1.4e9
    # Where lines arrive late, the time between them is none that was measured in.
    with trtexec.start(quick) as worker:
        worker.load()
        assert worker.round(1.0, 0.0).energy is None
    assert worker.peaks().rss_bytes is None or worker.peaks().rss_bytes > 0


def test_it_is_a_program_and_no_other_runtime_is() -> None:
    assert runtimes.program("trtexec") is not None
    others = [name for name in runtimes.names() if name != "trtexec"]
    assert [runtimes.program(name) for name in others] == [None] * len(others)
    assert np.isfinite(trtexec.LIMIT_S)
