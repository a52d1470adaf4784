"""The driver of a sweep: which trial is next, what came of it, and where that is written."""

from __future__ import annotations

import fcntl
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from edgeprune.domains import open_dataset
from edgeprune.environment import available_cores
from edgeprune.errors import DiskFullError, OutputError, ResultError, UsageError
from edgeprune.files import explain_os_errors, write_text
from edgeprune.pretrained import prepare_weights, weights_names
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import read_document
from edgeprune.sweeping.executor import Executor, Outcome, Site
from edgeprune.sweeping.layout import (
    LOCK_FILE,
    RESULT_FILE,
    SPEC_FILE,
    trial_directory,
    weights_file,
)
from edgeprune.sweeping.local import LocalExecutor
from edgeprune.sweeping.results import PlannedTrial, SweepPlan, SweepResult, TrialResult
from edgeprune.sweeping.spec import SweepSpec
from edgeprune.sweeping.store import STORE_FILE, Store, read_store
from edgeprune.sweeping.timing import time_models
from edgeprune.sweeping.trials import Trial, plan

# How often a trial is begun whose worker was lost each time.
ATTEMPTS = 2

MakeExecutor = Callable[[], Executor]


def sweep(
    spec: SweepSpec,
    output: Path,
    *,
    workers: int = 1,
    threads: int | None = None,
    ray: str | None = None,
    text: str = "",
    progress: Progress = SILENT,
) -> SweepResult:
    """Do every trial of ``spec`` that is not done yet; results stream into ``output``.

    Args:
        spec: the grid.
        output: directory of the sweep; one that an earlier run began is gone on with.
        workers: trials at a time on this machine.
        threads: compute threads of each trial; None shares the cores out.
        ray: address of a Ray cluster that runs the trials instead.
        text: the spec as it was written, to be kept beside the results.
        progress: is told of every trial that ends.

    Raises:
        UsageError, DataError: if the spec does not fit the data.
        OutputError: if ``output`` cannot be written, or another sweep writes there.
        UnavailableError: if no Ray cluster answers.
    """
    if workers < 1:
        raise UsageError(f"workers {workers} is not accepted; 1 or more is")
    trials = plan(spec, open_dataset(spec.data))
    share = threads if threads is not None else max(1, available_cores() // workers)
    site = Site(output.absolute(), spec.data, share)
    with _claimed(output):
        if text:
            write_text(output / SPEC_FILE, text)
        store = Store(output / STORE_FILE)
        try:
            driver = _Driver(site, store, trials, progress)
            driver.take_stock(spec.name)
            _prepare_weights(spec, output, progress)
            driver.run(partial(_executor, site, workers, ray))
            if spec.bench is not None:
                time_models(spec.bench, store, output, progress)
        finally:
            store.close()
    return summary(output)


def dry(spec: SweepSpec, output: Path | None = None) -> SweepPlan:
    """Return the trials of a sweep without doing any.

    Raises:
        UsageError, DataError: if the spec does not fit the data.
    """
    return SweepPlan(
        name=spec.name,
        trials=[
            PlannedTrial(
                id=trial.id,
                key=trial.key,
                done=output is not None
                and (trial_directory(output, trial.id) / RESULT_FILE).is_file(),
            )
            for trial in plan(spec, open_dataset(spec.data))
        ],
    )


def summary(output: Path) -> SweepResult:
    """Say how far the sweep in ``output`` is."""
    found = read_store(output / STORE_FILE)
    states = [row.state for row in found.rows]
    return SweepResult(
        name=found.name,
        store=str(output / STORE_FILE),
        trials=len(states),
        done=states.count("done"),
        failed=states.count("failed"),
        rows=found.rows,
    )


class _Driver:
    """Hands out trials whose dense model is there, and writes down what comes back."""

    def __init__(self, site: Site, store: Store, trials: Sequence[Trial], progress: Progress):
        self._site = site
        self._store = store
        self._trials = {trial.id: trial for trial in trials}
        self._progress = progress
        self._done: set[str] = set()
        self._failed: set[str] = set()
        self._attempts: dict[str, int] = {}
        self._seconds = 0.0

    def take_stock(self, name: str) -> None:
        """Find the trials that are done: their directories say so, whatever the store says."""
        self._store.plan(((t.id, t.key) for t in self._trials.values()), name)
        known = self._store.done()
        for identity in self._trials:
            path = trial_directory(self._site.root, identity) / RESULT_FILE
            if not path.is_file():
                if identity in known:
                    self._store.mark(identity, "waiting")
                continue
            if identity not in known:
                self._store.finish(read_document(path, TrialResult, ResultError))
            self._done.add(identity)
        if self._done:
            self._progress.say(f"{len(self._done)} of {len(self._trials)} trials are done already")

    def run(self, make: MakeExecutor) -> None:
        """Do what is left."""
        waiting = deque(t for t in self._trials.values() if t.id not in self._done)
        if not waiting:
            return
        started = time.perf_counter()
        before = len(self._done)
        executor = make()
        under_way: set[str] = set()
        try:
            while waiting or under_way:
                while len(under_way) < executor.slots and (trial := self._next(waiting)):
                    self._store.mark(trial.id, "running")
                    executor.submit(trial)
                    under_way.add(trial.id)
                if not under_way:
                    break
                outcome = executor.wait()
                under_way.discard(outcome.id)
                if self._again(outcome):
                    waiting.appendleft(self._trials[outcome.id])
                    continue
                self._settle(outcome, waiting)
                self._say(outcome, before, time.perf_counter() - started)
        finally:
            executor.close()

    def _next(self, waiting: deque[Trial]) -> Trial | None:
        """Take the first trial that needs nothing, or whose dense model is done."""
        for index, trial in enumerate(waiting):
            if trial.needs is None or trial.needs in self._done:
                del waiting[index]
                return trial
        return None

    def _again(self, outcome: Outcome) -> bool:
        """Tell whether a trial whose worker was lost is to be begun once more."""
        self._attempts[outcome.id] = self._attempts.get(outcome.id, 0) + 1
        again = outcome.lost and self._attempts[outcome.id] < ATTEMPTS
        if again:
            self._progress.say(f"{outcome.id}: {outcome.error}; it is gone on with")
        return again

    def _settle(self, outcome: Outcome, waiting: deque[Trial]) -> None:
        if outcome.result is not None:
            self._store.finish(outcome.result)
            self._done.add(outcome.id)
            return
        if outcome.fatal:
            raise DiskFullError(
                f"the sweep stopped: {outcome.error}",
                hint="what is done is kept; make room and start it again",
            )
        self._fail(outcome.id, outcome.error or "unknown")
        for trial in [t for t in waiting if t.needs == outcome.id]:
            waiting.remove(trial)
            self._fail(trial.id, f"its dense model failed: {outcome.error}")

    def _fail(self, identity: str, error: str) -> None:
        self._store.mark(identity, "failed", error)
        self._failed.add(identity)

    def _say(self, outcome: Outcome, before: int, seconds: float) -> None:
        ended = len(self._done) + len(self._failed)
        left = len(self._trials) - ended
        rest = seconds / max(1, ended - before) * left
        if outcome.result is None:
            what = f"failed: {outcome.error}"
        else:
            dg = outcome.result.dg
            what = (
                f"{dg.target_accuracy:.1f} % on {dg.target}, {outcome.result.seconds.total:.0f} s"
            )
        self._progress.say(
            f"[{ended}/{len(self._trials)}] {outcome.id}: {what}; {_duration(rest)} left"
        )


def _executor(site: Site, workers: int, ray: str | None) -> Executor:
    if ray is None:
        return LocalExecutor(site, workers)
    from edgeprune.sweeping.ray import RayExecutor

    return RayExecutor(site, ray)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "under a minute"
    return f"about {minutes} min" if minutes < 120 else f"about {minutes / 60:.0f} h"


def _prepare_weights(spec: SweepSpec, output: Path, progress: Progress) -> None:
    for model in spec.models:
        path = weights_file(output, model)
        if model.weights not in weights_names() or path is None or path.exists():
            continue
        progress.say(f"making the weights {model.weights} ready")
        prepare_weights(model.weights, path, img_size=model.img_size)


@contextmanager
def _claimed(output: Path) -> Iterator[None]:
    """Hold the directory; the lock goes with this process, whatever ends it.

    Raises:
        OutputError: if it holds something else, or another sweep is writing there.
    """
    if output.exists() and not output.is_dir():
        raise OutputError(f"output {str(output)!r} is a file; a directory was expected")
    ours = (output / STORE_FILE).exists() or (output / LOCK_FILE).exists()
    if output.exists() and any(output.iterdir()) and not ours:
        raise OutputError(f"output directory {str(output)!r} holds something else than a sweep")
    with explain_os_errors(output):
        output.mkdir(parents=True, exist_ok=True)
        with (output / LOCK_FILE).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(f"another sweep is writing into {str(output)!r}") from None
            yield
