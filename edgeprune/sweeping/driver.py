"""Handing out the trials of a sweep, and writing down what comes back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from edgeprune.errors import DiskFullError, ResultError
from edgeprune.progress import Progress
from edgeprune.schema import read_document
from edgeprune.sweeping.executor import Executor, Outcome, Site
from edgeprune.sweeping.layout import RESULT_FILE, is_done, trial_directory
from edgeprune.sweeping.results import TrialResult
from edgeprune.sweeping.store import Store
from edgeprune.sweeping.trials import Trial

# How often a trial is begun whose worker was lost each time.
ATTEMPTS = 2


class Driver:
    """Does the trials of a sweep that are not done; a pruned one after its dense one."""

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
            if not is_done(self._site.root, identity):
                if identity in known:
                    self._store.mark(identity, "waiting")
                continue
            if identity not in known:
                path = trial_directory(self._site.root, identity) / RESULT_FILE
                self._store.finish(read_document(path, TrialResult, ResultError))
            self._done.add(identity)
        if self._done:
            self._progress.say(f"{len(self._done)} of {len(self._trials)} trials are done already")

    def run(self, executor: Executor) -> None:
        """Do what is left.

        The store is written while workers are at the next trials, not before: what is done is said
        by the directories of trials.
        """
        waiting = deque(t for t in self._trials.values() if t.id not in self._done)
        started = time.perf_counter()
        before = len(self._done)
        under_way: set[str] = set()
        outcome: Outcome | None = None
        while True:
            begun = self._submit(waiting, under_way, executor)
            for identity in begun:
                self._store.mark(identity, "running")
            if outcome is not None:
                self._write(outcome)
                self._say(outcome, before, time.perf_counter() - started)
            if not under_way:
                break
            outcome = executor.wait()
            under_way.discard(outcome.id)
            if self._again(outcome):
                waiting.appendleft(self._trials[outcome.id])
                outcome = None
            else:
                self._settle(outcome, waiting)

    def _submit(self, waiting: deque[Trial], under_way: set[str], executor: Executor) -> list[str]:
        """Hand out as many trials as can be done at a time; return which."""
        begun = []
        while len(under_way) < executor.slots and (trial := self._next(waiting)):
            executor.submit(trial)
            under_way.add(trial.id)
            begun.append(trial.id)
        return begun

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
        """Take note of an outcome; what needs a trial that failed is not begun."""
        if outcome.result is not None:
            self._done.add(outcome.id)
            return
        if outcome.fatal:
            raise DiskFullError(
                f"the sweep stopped: {outcome.error}",
                hint="what is done is kept; make room and start it again",
            )
        self._failed.add(outcome.id)
        for trial in [t for t in waiting if t.needs == outcome.id]:
            waiting.remove(trial)
            self._failed.add(trial.id)

    def _write(self, outcome: Outcome) -> None:
        if outcome.result is not None:
            self._store.finish(outcome.result)
            return
        self._store.mark(outcome.id, "failed", outcome.error or "unknown")
        for trial in self._trials.values():
            if trial.needs == outcome.id and trial.id in self._failed:
                error = f"its dense model failed: {outcome.error}"
                self._store.mark(trial.id, "failed", error)

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


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "under a minute"
    return f"about {minutes} min" if minutes < 120 else f"about {minutes / 60:.0f} h"
