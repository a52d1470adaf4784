"""From trials to the rows of the tables."""

from __future__ import annotations

from collections.abc import Sequence

from edgeprune.reporting.sweep.averages import (
    curve,
    image_interval,
    known,
    mean,
    over_targets,
    over_trials,
    per_target,
    spread,
)
from edgeprune.reporting.sweep.document import SweepRow, TrialLine
from edgeprune.reporting.sweep.timing import pooled

DECIMALS = 1  # of an accuracy: what looks alike in a table is equally good


def target_column(target: str) -> str:
    """Return the name of a target's column in ``best``."""
    return f"target/{target}"


def build_rows(trials: Sequence[TrialLine], targets: Sequence[str]) -> list[SweepRow]:
    """Return a row per model and way of pruning: the dense one first, then by ratio."""
    groups: dict[tuple[object, ...], list[TrialLine]] = {}
    for trial in trials:
        way = (trial.metric, trial.ratio, trial.budget, trial.scope, trial.variant)
        key = (trial.model, trial.kind, *way)
        groups.setdefault(key, []).append(trial)
    models = list(dict.fromkeys(trial.model for trial in trials))
    budgets = list(dict.fromkeys(trial.budget for trial in trials))
    rows = [_row(members, targets) for members in groups.values()]
    # Rows that differ in metric or scope alone keep the order of the sweep.
    rows.sort(
        key=lambda row: (
            models.index(row.model),
            row.kind != "dense",
            budgets.index(row.budget),
            row.ratio or 0.0,
        )
    )
    return _with_best(rows, targets)


def _row(trials: Sequence[TrialLine], targets: Sequence[str]) -> SweepRow:
    first = trials[0]
    done = [trial for trial in trials if trial.state == "done"]
    return SweepRow(
        model=first.model,
        kind=first.kind,
        metric=first.metric,
        ratio=first.ratio,
        budget=first.budget,
        scope=first.scope,
        variant=first.variant,
        planned=len(trials),
        done=len(done),
        failed=sum(trial.state == "failed" for trial in trials),
        selections=sorted({trial.selection for trial in done if trial.selection is not None}),
        targets=per_target(trials, targets, lambda trial: trial.target_accuracy),
        average=over_targets(trials, targets, lambda trial: trial.target_accuracy),
        drop=over_trials(trials, targets, lambda trial: trial.drop_points),
        drop_ci95=image_interval(trials, targets),
        flipped=over_trials(trials, targets, lambda trial: trial.flipped),
        untuned_targets=per_target(trials, targets, lambda trial: trial.untuned_accuracy),
        untuned=over_targets(trials, targets, lambda trial: trial.untuned_accuracy),
        source_val=over_targets(trials, targets, lambda trial: trial.source_val_accuracy),
        macs_ratio=spread([t.dense_macs / t.macs for t in done if t.dense_macs and t.macs]),
        params_ratio=spread(
            [t.dense_params / t.params for t in done if t.dense_params and t.params]
        ),
        speeds=pooled([speed for trial in done for speed in trial.speeds]),
        finetune_ratio=mean(known(done, lambda trial: trial.finetune_ratio)),
        finetune_s=mean(known(done, lambda trial: trial.finetune_train_s)),
        prune_s=mean(known(done, lambda trial: trial.prune_s)),
        steps=sorted({trial.steps for trial in done if trial.steps is not None}),
        curve=curve(trials, targets),
        best=[],
    )


def _with_best(rows: Sequence[SweepRow], targets: Sequence[str]) -> list[SweepRow]:
    """Mark the best accuracy and drop among the rows of a ratio whose steps were selected alike.

    One row alone is not the best.
    """
    best: dict[int, list[str]] = {index: [] for index in range(len(rows))}
    for column in (*map(target_column, targets), "average", "drop"):
        groups: dict[tuple[object, ...], list[tuple[float, int]]] = {}
        for index, row in enumerate(rows):
            value = _value(row, column)
            if row.kind == "pruned" and value is not None:
                key = (row.budget, row.ratio, *row.selections)
                groups.setdefault(key, []).append((value, index))
        for members in groups.values():
            top = max(value for value, _ in members)
            winners = [index for value, index in members if value == top]
            if len(winners) < len(members):
                for index in winners:
                    best[index].append(column)
    return [row.model_copy(update={"best": best[index]}) for index, row in enumerate(rows)]


def _value(row: SweepRow, column: str) -> float | None:
    """Return a figure as the table shows it, where all its trials are in."""
    if column in ("average", "drop"):
        average = row.average if column == "average" else row.drop
        found = average.score if average.seeds * len(row.targets) == row.planned else None
    else:
        target = {target_column(name): score for name, score in row.targets.items()}[column]
        found = target.score if target.score and target.score.n == target.planned else None
    return round(found.value, DECIMALS) if found else None
