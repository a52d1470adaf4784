"""What a report on a sweep says, as data: every format is a view of :class:`SweepReport`.

Accuracies and drops are in percent and percentage points.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from edgeprune.reporting.document import Interval
from edgeprune.schema import Document, Facts, HistoryPoint, Selection


class Mean(Facts):
    """Mean of ``n`` values and its standard error: sample standard deviation / sqrt(n).

    ``se`` is null for a single value.
    """

    value: float
    se: float | None
    n: int


class Spread(Facts):
    """Mean, smallest and largest over the trials of a row."""

    mean: float
    low: float
    high: float


class TargetScore(Facts):
    """Accuracy on one target over the seeds; ``score`` is null where no trial of it is done."""

    score: Mean | None
    planned: int
    failed: int


class Average(Facts):
    """A mean over the targets, made of the ``seeds`` that have every target, else null.

    ``targets`` is the largest number of targets that any one seed has.
    """

    score: Mean | None
    seeds: int
    targets: int


class Speed(Facts):
    """Measured speed-up over the dense model of the same name, in one setting.

    Where several trials of a row were timed, ``speedup`` is their geometric mean and ``ci95``
    spans all their intervals.
    """

    runtime: str
    device: str
    precision: str
    batch: int
    threads: int
    estimated: bool
    speedup: float
    ci95: Interval | None
    trials: int


class CurvePoint(Facts):
    """Accuracy on source validation at one step of fine-tuning, over ``n`` trials."""

    step: int
    accuracy: float
    se: float | None
    n: int


class TrialLine(Facts):
    """One trial with everything that a figure of it depends on; null where it is not done.

    ``untuned_accuracy`` is the accuracy on the target right after pruning, before fine-tuning;
    ``domains`` and ``classes`` (of the target) hold accuracies.
    ``variant`` counts trials that differ only in settings which are not listed here.
    """

    id: str
    state: str
    error: str | None
    data: str
    model: str
    timm_name: str
    kind: Literal["dense", "pruned"]
    target: str
    seed: int
    metric: str | None
    ratio: float | None
    budget: str | None
    scope: str | None
    variant: int
    target_accuracy: float | None = None
    target_ci95: Interval | None = None
    target_n: int | None = None
    drop_points: float | None = None
    drop_ci95: Interval | None = None
    flipped: float | None = None
    source_val_accuracy: float | None = None
    untuned_accuracy: float | None = None
    balanced_accuracy: float | None = None
    calibration_error: float | None = None
    worst_domain: str | None = None
    worst_domain_accuracy: float | None = None
    params: int | None = None
    macs: int | None = None
    dense_params: int | None = None
    dense_macs: int | None = None
    steps: int | None = None
    best_step: int | None = None
    prune_s: float | None = None
    finetune_train_s: float | None = None
    finetune_evaluate_s: float | None = None
    finetune_total_s: float | None = None
    finetune_ratio: float | None = None
    total_s: float | None = None
    threads: int | None = None
    dataset: str | None = None
    data_fingerprint: str | None = None
    split: str | None = None
    split_seed: int | None = None
    holdout: float | None = None
    selection: Selection | None = None
    artifact: str | None = None
    fingerprint: str | None = None
    domains: dict[str, float] = Field(default_factory=dict)
    classes: dict[str, float | None] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    speeds: list[Speed] = Field(default_factory=list)
    history: list[HistoryPoint] = Field(default_factory=list)


class SweepRow(Facts):
    """One line of the tables: a dense model, or a model with one way of pruning.

    ``drop_ci95`` covers the choice of images; the standard error in ``drop`` covers targets and
    seeds. ``selections`` says how the steps of its trials were selected; ``best`` names the columns
    in which no other row of the same budget, ratio and selection is better.
    """

    model: str
    kind: Literal["dense", "pruned"]
    metric: str | None
    ratio: float | None
    budget: str | None
    scope: str | None
    variant: int
    planned: int
    done: int
    failed: int
    selections: list[Selection]
    targets: dict[str, TargetScore]
    average: Average
    drop: Average
    drop_ci95: Interval | None
    flipped: Average
    untuned_targets: dict[str, TargetScore]
    untuned: Average
    source_val: Average
    macs_ratio: Spread | None
    params_ratio: Spread | None
    speeds: list[Speed]
    finetune_ratio: Mean | None
    finetune_s: Mean | None
    prune_s: Mean | None
    steps: list[int]
    curve: list[CurvePoint]
    best: list[str]


class SweepReport(Document):
    """What ``edgeprune report`` reports of a sweep."""

    SCHEMA: ClassVar[str] = "edgeprune/sweep-report@1"

    title: str
    progress: str
    complete: bool
    headline: str
    headline_rule: str | None
    warnings: list[str]
    targets: list[str]
    seeds: list[int]
    protocol: list[str]
    rows: list[SweepRow]
    trials: list[TrialLine]
    environments: dict[str, dict[str, Any]]
    versions: dict[str, str]
