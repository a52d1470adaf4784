"""TensorRT engines through trtexec, TensorRT's own program, where its Python package is not there.

Every round is one run of the program, which times its own calls. It is started with a list of
words, never through a shell. Never run on a GPU by this project: tests drive it with a script.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO, Any

from edgeprune.benchmarking import energy, memory
from edgeprune.benchmarking.energy.base import Reading
from edgeprune.benchmarking.rounds import Rhythm
from edgeprune.benchmarking.runtimes.base import Job, Loaded
from edgeprune.benchmarking.runtimes.tensorrt import loaded_of
from edgeprune.benchmarking.trtexec import parse
from edgeprune.benchmarking.workers import Peaks, Round, Transfers
from edgeprune.engines import architecture
from edgeprune.engines.builders import trtexec as builder
from edgeprune.engines.builders.base import Found
from edgeprune.engines.files import Here, check_batch, misfit, read_record
from edgeprune.environment import worker_environment
from edgeprune.errors import ModelError, ResultError, UnavailableError, UsageError
from edgeprune.schema import EngineRecord

FORMAT = "engine"
PACKAGES: tuple[str, ...] = ()
# The others need calls one by one, or load without a pause.
SCENARIOS = ("latency", "throughput")
# Starting the program takes seconds, and its clock counts whole ones: few and long rounds.
RHYTHM = Rhythm(
    window_s=1.0, cap_s=10.0, round_s=1.0, min_rounds=5, max_rounds=20, lead_in_s=0.5, anew=True
)
OPTIONS = ("--iterations=10", "--noDataTransfers", "--useSpinWait")
COUNTS = "GPU compute time; neither transfers nor what the CPU does to start a call"
# What a run may take beyond its warm-up and its timed calls: loading an engine takes seconds.
LIMIT_S = 300.0
LEAST_S = 1

# Lines that it prints right before its first call, and right after its last.
STARTS = "Starting inference"
ENDS = re.compile(r"Warmup completed (\d+) queries")
# Where what it prints arrives late, readings are too close together to be of the timed calls.
WHOLE = 0.9
NS_PER_MS = 1e6


@dataclass
class _Run:
    """What is seen of one run while it goes on; ``readings`` are of the source of energy."""

    lines: list[str]
    readings: list[Reading]
    read_at_s: list[float]
    warmups: int = 0
    rss_bytes: int | None = None
    device_bytes: int | None = None

    def energy(self, seconds: float) -> tuple[Reading, Reading] | None:
        """Return the readings around ``seconds`` of timed calls; None if they are not that."""
        if len(self.readings) != 2 or self.read_at_s[1] - self.read_at_s[0] < WHOLE * seconds:
            return None
        return self.readings[0], self.readings[1]


class TrtexecWorker:
    """An engine that trtexec runs anew for every round; no process is left between two."""

    def __init__(self, job: Job, limit_s: float = LIMIT_S) -> None:
        """Take the job; ``limit_s`` is what a run may take beyond its own seconds."""
        self._job = job
        self._limit_s = limit_s
        self._words: list[str] = []
        self._meter: Callable[[], Reading] | None = None
        self._peaks = Peaks(None, None)

    def __enter__(self) -> TrtexecWorker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Do nothing: every run ends, or is ended, within its round."""

    def load(self) -> Loaded:
        """Check that the engine fits this machine, and run it for a second.

        Raises:
            EngineError: if the file is missing or not sound.
            ModelError, ResultError: if trtexec fails with it, or its times cannot be read.
            UnavailableError: if there is no trtexec here, or the engine does not fit.
            UsageError: if the device is no GPU, or the engine does not take the batch size.
        """
        job = self._job
        if job.device != "cuda":
            raise UsageError(f"an engine runs on a GPU; --device {job.device} was asked for")
        found = find()
        record = read_record(Path(job.source))
        _refuse_misfit(job, record, found)
        check_batch(record, job.batch)
        shapes = engine_shapes(record, job.batch)
        # It runs in a scratch folder, where a place relative to this one leads nowhere.
        program = str(Path(str(found.program)).absolute())
        self._words = [program, f"--loadEngine={job.source}", *shapes, *OPTIONS]
        self._meter = energy.reader(job.energy)
        self.round(LEAST_S, 0.0)
        return loaded_of(record)

    def round(self, seconds: float, lead_in_s: float, rest: bool = True) -> Round:
        """Run trtexec, which warms up for ``lead_in_s`` and then ends; return its compute times.

        Raises:
            ModelError, ResultError, UnavailableError: as :meth:`load`.
        """
        whole_s, warm_ms = max(LEAST_S, round(seconds)), round(lead_in_s * 1000)
        with TemporaryDirectory(prefix="edgeprune-trtexec-") as folder:
            times = Path(folder) / "times.json"
            how = [f"--exportTimes={times}", f"--duration={whole_s}", f"--warmUp={warm_ms}"]
            run = self._run([*self._words, *how], folder, whole_s, lead_in_s)
            samples = read_times(times, warm_ms, self._job.name)
        self._peaks = Peaks(
            _larger(self._peaks.rss_bytes, run.rss_bytes),
            _larger(self._peaks.device_bytes, run.device_bytes),
        )
        return Round(
            samples,
            lead_in=run.warmups,
            energy=run.energy(whole_s),
            notes=_notes("".join(run.lines)),
        )

    def transfers(self, seconds: float) -> Transfers | None:
        """Return None: trtexec copies from pinned memory, other runtimes from ordinary memory."""
        return None

    def peaks(self) -> Peaks:
        """Return the peak memory of trtexec over all runs."""
        return self._peaks

    def _run(self, words: list[str], folder: str, seconds: float, lead_in_s: float) -> _Run:
        late = threading.Event()
        limit_s = self._limit_s + seconds + lead_in_s
        with subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            cwd=folder,
            env=worker_environment(self._job.threads),
            # $TRTEXEC may be a script: whatever it has started is ended with it.
            start_new_session=True,
        ) as process:

            def end() -> None:
                late.set()
                _kill(process)

            timer = threading.Timer(limit_s, end)
            timer.start()
            try:
                run = self._follow(process, lead_in_s)
                process.wait()
            finally:
                timer.cancel()
                _kill(process)
        if late.is_set():
            raise UnavailableError(
                f"trtexec did not end within {limit_s:g} s with {self._job.name!r}: it was killed"
            )
        if process.returncode != 0:
            raise self._failure(process.returncode, run.lines)
        return run

    def _follow(self, process: subprocess.Popen[str], lead_in_s: float) -> _Run:
        """Read what it prints until it ends, and what its calls cost at their start and end."""
        run = _Run([], [], [])
        for line in _output(process):
            run.lines.append(line)
            ended = ENDS.search(line)
            if ended is None and STARTS not in line:
                continue
            if ended is None:
                time.sleep(lead_in_s)
            if self._meter is not None:
                run.readings.append(self._meter())
                run.read_at_s.append(time.monotonic())
            if ended is not None:
                run.warmups = int(ended[1])
                run.rss_bytes = memory.peak_rss_bytes(process.pid)
                run.device_bytes = memory.device_bytes(process.pid)
        return run

    def _failure(self, code: int, lines: Sequence[str]) -> ModelError | UnavailableError:
        name = self._job.name
        if code < 0:
            return UnavailableError(
                f"trtexec died (killed by {signal.Signals(-code).name}) with {name!r}",
                hint="the machine may be out of memory" if code == -signal.SIGKILL else None,
            )
        told = [line.partition("[E]")[2].strip() for line in lines if "[E]" in line]
        why = " ".join(told[0].split())[:300] if told else f"exit code {code}"
        return ModelError(f"trtexec fails with {name!r}, batch {self._job.batch}: {why}")


def start(job: Job) -> TrtexecWorker:
    """Return what measures a job."""
    return TrtexecWorker(job)


def facts() -> dict[str, Any]:
    """Return which trtexec is used and how; its figures mean little without.

    Raises:
        UnavailableError: if there is none here.
    """
    found = find()
    return {
        "program": found.program,
        "version": found.version,
        "options": [*OPTIONS],
        "latency": COUNTS,
    }


def find() -> Found:
    """Return the program. Raises UnavailableError if there is none that works here."""
    found = builder.find()
    if found.program is None:
        raise UnavailableError(
            f"runtime 'trtexec' is not available here: {found.missing}", hint=found.fix
        )
    return found


def engine_shapes(record: EngineRecord, batch: int) -> tuple[str, ...]:
    """Return what trtexec is told of an engine that takes several batch sizes."""
    if not record.built.profile.varies:
        return ()
    (images,) = [tensor for tensor in record.tensors if tensor.mode == "input"]
    return shape_words(images.name, [batch, *images.shape[1:]])


def shape_words(name: str, shape: Sequence[object]) -> tuple[str, ...]:
    """Tell trtexec the shape of an input that may have several."""
    return (f"--shapes={name}:{'x'.join(map(str, shape))}",)


def read_times(path: Path, warm_ms: float, name: str) -> list[int]:
    """Return the compute time of every call in ns, from what ``--exportTimes`` wrote.

    Older versions, such as 8.4, write the calls of the warm-up too: those that started in the first
    ``warm_ms`` are left out.

    Raises:
        ResultError: if there are none, or one that cannot be true.
    """
    try:
        calls = json.loads(path.read_text(encoding="utf-8"))
        samples = [
            float(call["computeMs"]) * NS_PER_MS
            for call in calls
            if float(call["startComputeMs"]) >= warm_ms
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultError(
            f"the times that trtexec exported of {name!r} cannot be read:"
            f" {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from None
    if not samples:
        raise ResultError(f"trtexec exported no time of {name!r} after its warm-up")
    if not all(math.isfinite(sample) and sample >= 1 for sample in samples):
        raise ResultError(f"trtexec exported a time of {name!r} that cannot be true")
    return [round(sample) for sample in samples]


def _refuse_misfit(job: Job, record: EngineRecord, found: Found) -> None:
    version = "" if found.version is None else re.sub(r"[^\d.]", "", found.version)
    why = misfit(record.built, Here({builder.FLAVOUR: version}, architecture.local()))
    if why is not None:
        raise UnavailableError(
            f"{job.source!r} does not fit this machine: {why}",
            hint="build it again on this machine",
        )


def _notes(log: str) -> tuple[str, ...]:
    """Return what trtexec warns of; that its log cannot be read is no reason to lose its times."""
    try:
        return tuple(f"trtexec: {warning}" for warning in parse(log).warnings)
    except ResultError as error:
        return (str(error),)


def _output(process: subprocess.Popen[str]) -> IO[str]:
    if process.stdout is None:
        raise ValueError("trtexec was started without a pipe")
    return process.stdout


def _kill(process: subprocess.Popen[str]) -> None:
    """End a run with all that it has started, if it has not ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _larger(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)
