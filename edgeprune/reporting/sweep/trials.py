"""From the store to one line per trial: its result beside the dense one and its timings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edgeprune.reporting.document import Interval
from edgeprune.reporting.models import same_score
from edgeprune.reporting.sweep.document import Speed, TrialLine
from edgeprune.selection import comparable
from edgeprune.sweeping.results import Row, TrialResult


def trial_lines(
    rows: Sequence[Row], speeds: Mapping[str, list[Speed]], data_fingerprints: Mapping[str, str]
) -> list[TrialLine]:
    """Return a line for each row of the store, in its order.

    Args:
        rows: what the store holds.
        speeds: speed-ups by the fingerprint of the weights that were timed.
        data_fingerprints: fingerprints of the data by trial id, where they are known.
    """
    dense = {
        (row.key.model, row.key.target, row.key.seed): row.result
        for row in rows
        if row.key.kind == "dense" and row.result is not None
    }
    return [
        TrialLine(
            id=row.id,
            state=row.state,
            error=row.error,
            variant=variant,
            **row.key.model_dump(),
            data_fingerprint=data_fingerprints.get(row.id),
            **_figures(row, dense.get((row.key.model, row.key.target, row.key.seed)), speeds),
        )
        for row, variant in zip(rows, _variants(rows), strict=True)
    ]


def _variants(rows: Sequence[Row]) -> list[int]:
    """Number trials whose keys are equal, since they differ in settings that a key does not name.

    A sweep plans them in one order for every target and seed, so that a number is one setting.
    """
    seen: Counter[str] = Counter()
    numbers = []
    for row in rows:
        key = row.key.model_dump_json()
        seen[key] += 1
        numbers.append(seen[key])
    return numbers


def _figures(
    row: Row, dense: TrialResult | None, speeds: Mapping[str, list[Speed]]
) -> dict[str, Any]:
    result = row.result
    if row.state != "done" or result is None:
        return {}
    dg, seconds = result.dg, result.seconds
    facts: dict[str, Any] = {
        "target_accuracy": dg.target_accuracy,
        "target_ci95": dg.target_interval,
        "target_n": dg.target_n,
        "source_val_accuracy": dg.source_val_accuracy,
        "untuned_accuracy": result.untuned.target_accuracy if result.untuned else None,
        "balanced_accuracy": dg.balanced_accuracy,
        "calibration_error": dg.calibration_error,
        "worst_domain": dg.worst_domain.name if dg.worst_domain else None,
        "worst_domain_accuracy": dg.worst_domain.accuracy if dg.worst_domain else None,
        "params": result.pruned.params,
        "macs": result.pruned.macs,
        "dense_params": result.dense.params,
        "dense_macs": result.dense.macs,
        "steps": result.steps,
        "best_step": result.best_step,
        "prune_s": seconds.prune,
        "finetune_train_s": seconds.finetune.train,
        "finetune_evaluate_s": seconds.finetune.evaluate,
        "finetune_total_s": seconds.finetune.total,
        "total_s": seconds.total,
        "threads": result.threads,
        "dataset": dg.dataset,
        "split": dg.split.by,
        "split_seed": dg.split.seed,
        "holdout": dg.split.holdout,
        "selection": dg.selection,
        "artifact": result.artifact,
        "fingerprint": result.fingerprint,
        "domains": {name: domain.accuracy for name, domain in dg.domains.items()},
        "classes": dg.class_accuracy or {},
        "machine": result.machine.model_dump(),
        "versions": result.versions,
        "speeds": speeds.get(result.fingerprint, []),
        "history": result.history,
    }
    if row.key.kind == "pruned":
        points, ci95, flipped = _drop(result, dense)
        facts |= {"drop_points": points, "drop_ci95": ci95, "flipped": flipped}
        facts["finetune_ratio"] = _finetune_ratio(result, dense) if dense else None
    return facts


def _drop(
    result: TrialResult, dense: TrialResult | None
) -> tuple[float | None, Interval | None, float | None]:
    """Return points against dense, their interval over images, and the share of flips (percent).

    A trial without a paired comparison has no more than the difference of two accuracies; one
    whose step was selected otherwise than the dense model's has nothing.
    """
    if dense is not None and not comparable(result.dg.selection, dense.dg.selection):
        return None, None, None
    if result.drop is not None:
        return result.drop.points, result.drop.ci95, result.drop.flipped
    if dense is None or not same_score(result.dg, dense.dg):
        return None, None, None
    return result.dg.target_accuracy - dense.dg.target_accuracy, None, None


def _finetune_ratio(result: TrialResult, dense: TrialResult) -> float | None:
    """Return the training time against dense; unknown between machines or thread counts."""
    alike = (result.machine, result.threads) == (dense.machine, dense.threads)
    own, seconds = result.seconds.finetune, dense.seconds.finetune.train
    return (own.train - own.teacher) / seconds if alike and seconds > 0 else None
