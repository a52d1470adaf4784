"""How far a sweep is, and what failed in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgeprune.reporting.sweep.document import SweepReport, TrialLine
from edgeprune.reporting.wording import share


def progress(trials: Sequence[TrialLine]) -> str:
    """Say how many trials are done, and how many are not."""
    states = Counter(trial.state for trial in trials)
    rest = [f"{states[name]} {name}" for name in ("failed", "running", "waiting") if states[name]]
    done = f"{states['done']} of {len(trials)} trials done"
    if not rest:
        return done
    return f"{', '.join([done, *rest])}; figures are of those done"


def failures(data: SweepReport) -> list[str]:
    """Return a line for each trial that failed: which one, and its error."""
    return [
        f"{name_of(trial)}: {trial.error or 'no error was recorded'}"
        for trial in data.trials
        if trial.state == "failed"
    ]


def name_of(trial: TrialLine) -> str:
    """Name a trial: model, how it is pruned, target, seed."""
    if trial.kind == "dense":
        pruned = "dense"
    else:
        ratio = share(trial.ratio) if trial.ratio is not None else ""
        of = f"of {trial.budget}" if trial.budget else ""
        number = f"#{trial.variant}" if trial.variant > 1 else ""
        pruned = " ".join(filter(None, [trial.metric, number, ratio, of]))
    return f"{trial.model}, {pruned}, target {trial.target}, seed {trial.seed}"
