"""Trials in worker processes on this machine."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from edgeprune.environment import worker_environment
from edgeprune.files import explain_os_errors
from edgeprune.sweeping.executor import Outcome, Site, outcome
from edgeprune.sweeping.layout import LOGS
from edgeprune.sweeping.trials import Trial

EXIT_TIMEOUT_S = 20.0


@dataclass
class _Worker:
    """A process that does one trial after another, and the trial it is at."""

    process: subprocess.Popen[bytes]
    trial: str | None = None

    @property
    def replies(self) -> IO[bytes]:
        assert self.process.stdout is not None  # a pipe
        return self.process.stdout

    def send(self, trial: Trial) -> None:
        assert self.process.stdin is not None  # a pipe
        self.trial = trial.id
        self.process.stdin.write(trial.model_dump_json().encode() + b"\n")
        self.process.stdin.flush()


class LocalExecutor:
    """Keeps ``slots`` worker processes, which get ready at once, before there is work for them.

    A worker that dies costs the trial that it was at, and is replaced. What workers write to
    stderr goes to ``logs/`` of the sweep.
    """

    def __init__(
        self,
        site: Site,
        workers: int,
        *,
        gpus: int = 0,
        command: Callable[[int], list[str]] | None = None,
    ) -> None:
        """Make an executor; with ``gpus`` the workers are dealt out over so many."""
        self.slots = workers
        self._gpus = gpus
        self._site = site
        self._command = command or _command
        self._workers: dict[int, _Worker] = {}
        self._selector = selectors.DefaultSelector()
        for slot in range(workers):
            self._start(slot)

    def submit(self, trial: Trial) -> None:
        """Give a trial to an idle worker, or to a new one in the place of one that died."""
        for slot in range(self.slots):
            worker = self._workers.get(slot)
            if worker is None:
                worker = self._start(slot)
            if worker.trial is None:
                # One that died while idle is found out by waiting for it.
                with contextlib.suppress(BrokenPipeError):
                    worker.send(trial)
                return
        raise RuntimeError(f"{self.slots} trials are under way already")

    def wait(self) -> Outcome:
        """Wait for a line of a worker, or for its end."""
        while True:
            for key, _ in self._selector.select():
                slot: int = key.data
                worker = self._workers[slot]
                line = worker.replies.readline()
                identity, worker.trial = worker.trial, None
                if line.endswith(b"\n") and identity is not None:
                    return outcome(identity, line.decode())
                code = self._end(slot)
                if identity is not None:
                    return Outcome(identity, error=_death(code), lost=True)

    def close(self) -> None:
        """End all workers; those at a trial keep what they have before they go."""
        for worker in self._workers.values():
            worker.process.terminate()
        for slot in list(self._workers):
            self._end(slot)
        self._selector.close()

    def _start(self, slot: int) -> _Worker:
        log = self._site.root / LOGS / f"worker-{slot}.log"
        with explain_os_errors(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as stderr:
                process = subprocess.Popen(
                    self._command(slot),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env=self._environment(slot),
                    # An interrupt at the terminal reaches the sweep alone, which then ends these.
                    start_new_session=True,
                )
        assert process.stdin is not None  # a pipe
        process.stdin.write(self._site.to_json().encode() + b"\n")
        process.stdin.flush()
        worker = self._workers[slot] = _Worker(process)
        self._selector.register(worker.replies, selectors.EVENT_READ, slot)
        return worker

    def _environment(self, slot: int) -> dict[str, str]:
        environment = worker_environment(self._site.threads)
        if self._gpus > 1:
            environment["CUDA_VISIBLE_DEVICES"] = str(slot % self._gpus)
        return environment

    def _end(self, slot: int) -> int:
        worker = self._workers.pop(slot)
        self._selector.unregister(worker.replies)
        try:
            assert worker.process.stdin is not None  # a pipe
            worker.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            return worker.process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            return worker.process.wait()
        finally:
            worker.replies.close()


def _command(slot: int) -> list[str]:
    return [sys.executable, "-m", "edgeprune.sweeping.worker", str(os.getpid())]


def _death(code: int) -> str:
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"its worker process ended ({how})"
