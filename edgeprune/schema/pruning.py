"""What pruning reports, and the plan that it can save."""

from __future__ import annotations

from typing import ClassVar

from edgeprune.schema.artifacts import Cost, LatencyCandidate, LayerChange
from edgeprune.schema.document import Document, Facts


class PruneSeconds(Facts):
    """Wall time of the steps of one pruning."""

    score: float
    plan: float
    prune: float
    total: float


class PruneResult(Document):
    """What ``edgeprune prune`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/prune@1"

    artifact: str | None
    model: str
    family: str
    metric: str
    ratio: float
    budget: str
    scope: str
    dims: list[str]
    dense: Cost
    pruned: Cost
    layers: list[LayerChange]
    latency: list[LatencyCandidate] = []
    warnings: list[str] = []
    seconds: PruneSeconds


class PrunePlan(Document):
    """A saved plan: how wide every layer is to be. ``after`` may be edited.

    The rest says for which model it was made, and how.
    """

    SCHEMA: ClassVar[str] = "edgeprune/plan@1"

    model: str
    family: str
    num_classes: int
    img_size: int
    metric: str
    ratio: float
    budget: str
    scope: str
    dims: list[str]
    layers: list[LayerChange]
