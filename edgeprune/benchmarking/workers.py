"""The seam between the harness and what it measures: start a worker, ask it for rounds."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from edgeprune import errors
from edgeprune.benchmarking.energy.base import Reading
from edgeprune.benchmarking.runtimes.base import Job, Loaded, Operator, Profile
from edgeprune.environment import worker_environment

EXIT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Peaks:
    """Peak memory of a worker in bytes: resident, and on its device; None where not known."""

    rss_bytes: int | None
    device_bytes: int | None


@dataclass(frozen=True)
class Round:
    """Timed calls in nanoseconds, and how many calls before them were not recorded.

    ``idle`` is False if threads were still running when the worker gave up waiting for them.
    ``ran_ns`` and ``waited_ns`` are how long all threads had a core and waited for one during the
    timed calls, None where the system does not count it. ``energy`` are readings of the job's
    source before and after them. Of paced requests, those are ``dropped`` that come while the one
    before still runs. ``notes`` is what a program that measures by itself warned of. The round took
    ``beside_s`` beside the timed calls.
    """

    samples_ns: Sequence[int]
    lead_in: int = 0
    idle: bool = True
    ran_ns: int | None = None
    waited_ns: int | None = None
    energy: tuple[Reading, Reading] | None = None
    dropped: int = 0
    notes: Sequence[str] = ()
    beside_s: float = 0.0


@dataclass(frozen=True)
class Transfers:
    """Nanoseconds of single copies of a batch: images to the device, results back."""

    to_device_ns: Sequence[int]
    to_host_ns: Sequence[int]


class Worker(Protocol):
    """One model in a process of its own."""

    def load(self) -> Loaded:
        """Load the model and run it once."""
        ...

    def round(self, seconds: float, lead_in_s: float, rest: bool = True) -> Round:
        """Run unrecorded calls for ``lead_in_s``, then timed ones for ``seconds``, one at least.

        With ``rest`` it ends when all threads have come to rest: another model's turn is next.
        """
        ...

    def transfers(self, seconds: float) -> Transfers | None:
        """Time copies to and from the device for ``seconds`` each; None where there are none."""
        ...

    def peaks(self) -> Peaks:
        """Return the peak memory so far."""
        ...


class ProfilingWorker(Worker, Protocol):
    """One whose runtime has a profiler."""

    def profile(self, scratch: Path) -> Profile:
        """Run the model, which need not be loaded, with its runtime's profiler on."""
        ...


WorkerFactory = Callable[[Job], AbstractContextManager[Worker]]


class SubprocessWorker:
    """A real worker process; leaving the ``with`` block ends and reaps it, whatever happened."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __enter__(self) -> SubprocessWorker:
        self._stderr = tempfile.TemporaryFile()
        self._process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-m", "edgeprune.benchmarking.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            encoding="utf-8",
            env=worker_environment(self._job.threads, self._job.huge_pages),
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._pipe(self._process.stdin).close()
                self._process.wait(EXIT_TIMEOUT_S)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            pass  # it is killed below
        finally:
            self._process.kill()
            self._process.wait()
            self._pipe(self._process.stdout).close()
            self._stderr.close()

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def load(self) -> Loaded:
        """Load the model.

        Raises:
            EdgepruneError: what the worker says is wrong with the model or the device.
            UnavailableError: if the worker dies.
        """
        return Loaded(**self._ask("load", job=dataclasses.asdict(self._job)))

    def round(self, seconds: float, lead_in_s: float, rest: bool = True) -> Round:
        """Measure. Raises UnavailableError if the worker dies."""
        start = time.perf_counter()
        reply = self._ask("round", seconds=seconds, lead_in_s=lead_in_s, rest=rest)
        spent_s = time.perf_counter() - start
        # Between paced calls is the time that was asked for.
        timed_s = sum(reply["samples_ns"]) / 1e9 if self._job.period_s is None else spent_s
        reply["energy"] = tuple(reply["energy"]) if reply["energy"] else None
        return Round(**reply, beside_s=spent_s - timed_s)

    def transfers(self, seconds: float) -> Transfers | None:
        """Time copies to and from the device. Raises UnavailableError if the worker dies."""
        reply = self._ask("transfers", seconds=seconds)
        return Transfers(**reply) if reply else None

    def peaks(self) -> Peaks:
        """Return the peak memory so far. Raises UnavailableError if the worker dies."""
        reply = self._ask("memory")
        return Peaks(reply["peak_rss_bytes"], reply["device_peak_bytes"])

    def profile(self, scratch: Path) -> Profile:
        """Run the model with its runtime's profiler on, which writes to ``scratch``.

        Raises:
            EdgepruneError: what the worker says is wrong with the model.
            UnavailableError: if the worker dies.
        """
        reply = self._ask("profile", job=dataclasses.asdict(self._job), scratch=str(scratch))
        operators = [Operator(**fields) for fields in reply["operators"]]
        return Profile(**{**reply, "operators": operators})

    def _ask(self, request: str, **fields: Any) -> dict[str, Any]:
        stdin = self._pipe(self._process.stdin)
        try:
            stdin.write(json.dumps({"request": request, **fields}) + "\n")
            stdin.flush()
            line = self._pipe(self._process.stdout).readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise self._death()
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            kind: type[errors.EdgepruneError] = getattr(errors, reply["error"])
            raise kind(reply["message"], hint=reply["hint"])
        return reply

    def _death(self) -> errors.UnavailableError:
        code = self._process.wait()
        self._stderr.seek(0)
        text = self._stderr.read().decode("utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        how = f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
        last = f": {lines[-1][:300]}" if lines else ""
        return errors.UnavailableError(
            f"the process that measured {self._job.name!r} died ({how}){last}",
            hint="the machine may be out of memory" if code == -signal.SIGKILL else None,
        )

    @staticmethod
    def _pipe(stream: IO[str] | None) -> IO[str]:
        if stream is None:
            raise ValueError("the worker was started without pipes")
        return stream


class RecordedWorker:
    """A worker that plays back what it is given: for tests of the harness, without a runtime.

    Rounds are taken from ``rounds`` in order and start over at the end; in each it waits for a core
    for ``waited_ns``, its meter reads ``energy``, and ``dropped`` requests have come too early.
    ``calls`` lists what was asked of it, ``rests`` whether it was to rest after each round.
    """

    def __init__(
        self,
        rounds: Sequence[Sequence[int]],
        loaded: Loaded | None = None,
        peaks: Peaks | None = None,
        waited_ns: int | None = None,
        energy: tuple[Reading, Reading] | None = None,
        dropped: int = 0,
        transfers: Transfers | None = None,
        profile: Profile | None = None,
    ) -> None:
        self._profile = profile or Profile([], 0, 0.0)
        self._transfers = transfers
        self._dropped = dropped
        self._energy = energy
        self._waited_ns = waited_ns
        self._rounds = rounds
        self._loaded = loaded or Loaded(img_size=32, precision="fp32")
        self._peaks = peaks or Peaks(None, None)
        self._next = 0
        self.calls: list[str] = []
        self.rests: list[bool] = []

    def __enter__(self) -> RecordedWorker:
        self.calls.append("start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.calls.append("end")

    def load(self) -> Loaded:
        """Return the recorded facts."""
        self.calls.append("load")
        return self._loaded

    def round(self, seconds: float, lead_in_s: float, rest: bool = True) -> Round:
        """Return the next recorded round."""
        self.calls.append("round")
        self.rests.append(rest)
        samples = self._rounds[self._next % len(self._rounds)]
        self._next += 1
        return Round(
            samples,
            ran_ns=sum(samples),
            waited_ns=self._waited_ns,
            energy=self._energy,
            dropped=self._dropped,
        )

    def transfers(self, seconds: float) -> Transfers | None:
        """Return the recorded copies."""
        self.calls.append("transfers")
        return self._transfers

    def peaks(self) -> Peaks:
        """Return the recorded peaks."""
        self.calls.append("peaks")
        return self._peaks

    def profile(self, scratch: Path) -> Profile:
        """Return the recorded profile."""
        self.calls.append("profile")
        return self._profile
