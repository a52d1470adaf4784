"""What one trial of a sweep came to."""

from __future__ import annotations

from typing import ClassVar, Literal

from edgeprune.schema import (
    Cost,
    DGResult,
    Document,
    Drop,
    Facts,
    FinetuneSeconds,
    HistoryPoint,
    MachineFacts,
)

Kind = Literal["dense", "pruned"]
State = Literal["waiting", "running", "done", "failed"]


class TrialKey(Facts):
    """Where a trial stands in the grid. A dense model has neither metric, ratio nor budget.

    ``model`` is the label of the model in tables, ``timm_name`` its name in timm.
    """

    kind: Kind
    model: str
    timm_name: str
    data: str
    target: str
    seed: int
    metric: str | None = None
    ratio: float | None = None
    budget: str | None = None
    scope: str | None = None


class TrialSeconds(Facts):
    """Wall time of the parts of one trial; null where the trial has no such part.

    ``finetune`` counts what was done before an interruption, ``total`` only what came after it.
    """

    prune: float | None
    finetune: FinetuneSeconds
    total: float


class TrialResult(Document):
    """``trial.json`` of a finished trial, and a row of the store.

    ``artifact`` is the directory of the model, relative to the sweep's. ``drop`` is
    what was lost against the dense model of the same target and seed; ``untuned`` is the accuracy
    right after pruning.
    """

    SCHEMA: ClassVar[str] = "edgeprune/trial@1"

    id: str
    key: TrialKey
    artifact: str
    fingerprint: str
    dense: Cost
    pruned: Cost
    dg: DGResult
    drop: Drop | None
    untuned: DGResult | None
    steps: int
    best_step: int
    history: list[HistoryPoint]
    seconds: TrialSeconds
    threads: int
    machine: MachineFacts
    versions: dict[str, str]


class Row(Facts):
    """One trial as the store has it: what it is, how far it is, its result or its error."""

    id: str
    key: TrialKey
    state: State
    error: str | None = None
    result: TrialResult | None = None


class SweepResult(Document):
    """What ``edgeprune sweep`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/sweep@1"

    name: str
    store: str
    trials: int
    done: int
    failed: int
    rows: list[Row]


class PlannedTrial(Facts):
    """A trial of a sweep, and whether its result is there."""

    id: str
    key: TrialKey
    done: bool


class SweepPlan(Document):
    """What ``edgeprune sweep --dry-run`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/sweep-plan@1"

    name: str
    trials: list[PlannedTrial]
