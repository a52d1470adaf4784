"""Means over trials: what may be averaged, and how wide the error is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from statistics import fmean, stdev

from edgeprune.reporting.document import Interval
from edgeprune.reporting.sweep.document import (
    Average,
    CurvePoint,
    Mean,
    Spread,
    TargetScore,
    TrialLine,
)

Figure = Callable[[TrialLine], float | None]


def mean(values: Sequence[float]) -> Mean | None:
    """Return mean and standard error, or None of nothing."""
    if not values:
        return None
    se = stdev(values) / sqrt(len(values)) if len(values) > 1 else None
    return Mean(value=fmean(values), se=se, n=len(values))


def known(trials: Sequence[TrialLine], figure: Figure) -> list[float]:
    """Return the values of a figure where trials have it."""
    return [value for value in map(figure, trials) if value is not None]


def spread(values: Sequence[float]) -> Spread | None:
    """Return mean and range, or None of nothing."""
    return Spread(mean=fmean(values), low=min(values), high=max(values)) if values else None


def per_target(
    trials: Sequence[TrialLine], targets: Sequence[str], figure: Figure
) -> dict[str, TargetScore]:
    """Return a figure for each target, over seeds."""
    scores = {}
    for target in targets:
        own = [trial for trial in trials if trial.target == target]
        scores[target] = TargetScore(
            score=mean(known(own, figure)),
            planned=len(own),
            failed=sum(trial.state == "failed" for trial in own),
        )
    return scores


def complete_seeds(
    trials: Sequence[TrialLine], targets: Sequence[str], figure: Figure
) -> tuple[list[int], int]:
    """Return the seeds that have a figure for every target, and the most targets of any seed."""
    have: dict[int, set[str]] = {}
    for trial in trials:
        if figure(trial) is not None:
            have.setdefault(trial.seed, set()).add(trial.target)
    seeds = [seed for seed, found in have.items() if found.issuperset(targets)]
    return seeds, max((len(found) for found in have.values()), default=0)


def over_targets(trials: Sequence[TrialLine], targets: Sequence[str], figure: Figure) -> Average:
    """Average over targets within each seed, then over seeds (DomainBed's order).

    The standard error is that of the seeds' averages.
    """
    seeds, most = complete_seeds(trials, targets, figure)
    by_seed = [
        fmean(known([trial for trial in trials if trial.seed == seed], figure)) for seed in seeds
    ]
    return Average(score=mean(by_seed), seeds=len(seeds), targets=most)


def over_trials(trials: Sequence[TrialLine], targets: Sequence[str], figure: Figure) -> Average:
    """Average over all trials of the seeds that have every target, with their standard error."""
    seeds, most = complete_seeds(trials, targets, figure)
    values = known([trial for trial in trials if trial.seed in seeds], figure)
    return Average(score=mean(values), seeds=len(seeds), targets=most)


def image_interval(trials: Sequence[TrialLine], targets: Sequence[str]) -> Interval | None:
    """Combine the trials' intervals on the drop into one on its mean; None if any has none.

    Seeds of one target may be scored on the same images (a split by file scores all of them), and
    then their errors do not average out: half widths are averaged over seeds. Targets have images
    of their own: there the half widths are combined as of independent errors, unless the split is
    by group: then every target shows the same groups, and half widths are averaged, too.
    """
    seeds, _ = complete_seeds(trials, targets, lambda trial: trial.drop_points)
    own = [trial for trial in trials if trial.seed in seeds and trial.drop_points is not None]
    if not own or any(trial.drop_ci95 is None for trial in own):
        return None
    middle = fmean(trial.drop_points or 0.0 for trial in own)
    below, above = [], []
    for target in targets:
        ends = [
            (t.drop_points, t.drop_ci95)
            for t in own
            if t.target == target and t.drop_points is not None and t.drop_ci95 is not None
        ]
        below.append(fmean(points - ci95[0] for points, ci95 in ends))
        above.append(fmean(ci95[1] - points for points, ci95 in ends))
    join = fmean if any(trial.split == "group" for trial in own) else _joint
    return middle - join(below), middle + join(above)


def _joint(widths: Sequence[float]) -> float:
    return sqrt(sum(width * width for width in widths)) / len(widths)


def curve(trials: Sequence[TrialLine], targets: Sequence[str]) -> list[CurvePoint]:
    """Return source validation against steps, where every trial of the complete seeds has one."""
    seeds, _ = complete_seeds(trials, targets, lambda trial: trial.target_accuracy)
    own = [trial for trial in trials if trial.seed in seeds]
    by_step: dict[int, list[float]] = {}
    for trial in own:
        for step, accuracy in {p.step: p.source_val for p in trial.history}.items():
            by_step.setdefault(step, []).append(accuracy)
    points = []
    for step, values in sorted(by_step.items()):
        found = mean(values)
        if found is not None and found.n == len(own):
            points.append(CurvePoint(step=step, accuracy=found.value, se=found.se, n=found.n))
    return points
