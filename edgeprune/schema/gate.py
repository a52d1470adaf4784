"""What the regression check reports."""

from __future__ import annotations

from typing import ClassVar, Literal

from edgeprune.schema.document import Document, Facts


class Finding(Facts):
    """One check of one model in one setting.

    ``baseline`` and ``current`` are figures in ``unit``. ``limit`` is the largest ``ratio`` that is
    accepted; for an accuracy, the lowest ``current``, null if that is not known. ``ci95`` is of the
    ratio, or of the accuracy. ``note`` says what would settle an inconclusive finding, and
    which file an accuracy is from where a model has several.
    """

    model: str
    metric: str
    unit: str
    baseline: float | None
    current: float | None
    ratio: float | None
    ci95: tuple[float, float] | None
    limit: float | None
    verdict: Literal["passed", "failed", "inconclusive"]
    runtime: str
    device: str
    precision: str
    batch: int
    threads: int
    against: str | None = None
    note: str | None = None


class CheckResult(Document):
    """What ``edgeprune check`` reports; ``interleaved`` tells if both were measured in one run.

    ``machine`` holds the facts of the machine by which results of two are told apart.
    """

    SCHEMA: ClassVar[str] = "edgeprune/check@1"

    passed: bool
    strict: bool
    interleaved: bool | None
    findings: list[Finding]
    warnings: list[str] = []
    machine: dict[str, str | int | float | None] = {}
