"""What fine-tuning and evaluation report."""

from __future__ import annotations

from typing import ClassVar

from edgeprune.schema.artifacts import DGResult, Drop, HistoryPoint
from edgeprune.schema.document import Document, Facts


class FinetuneSeconds(Facts):
    """Wall time of the parts of one fine-tuning; a resumed run counts all its parts.

    ``teacher`` is the part of ``train`` in which a teacher answered: the students of a sweep share
    the answers, and only the first waits for them.
    """

    train: float
    teacher: float = 0.0
    evaluate: float
    total: float


class MachineFacts(Facts):
    """The CPU that a result comes from, and how many cores of it could be used."""

    cpu: str
    cores: int


class FinetuneResult(Document):
    """What ``edgeprune finetune`` reports; ``fingerprint`` is the artifact's ``weights_sha256``.

    ``averaged_steps`` are the first and last step whose weights the result is the average of, where
    it is one of steps (SWAD); ``best_step`` is then the last of them. ``machine`` stands here only:
    an artifact is the same wherever it is made.
    """

    SCHEMA: ClassVar[str] = "edgeprune/finetune@1"

    artifact: str
    model: str
    steps: int
    best_step: int
    averaged_steps: tuple[int, int] | None = None
    seconds: FinetuneSeconds
    history: list[HistoryPoint]
    dg: DGResult
    seed: int | None = None
    versions: dict[str, str] = {}
    machine: MachineFacts | None = None
    fingerprint: str | None = None


class EvalResult(Document):
    """What ``edgeprune eval`` reports.

    ``model`` is the model's name, ``scored`` the artifact or file that was given, null in earlier
    results. ``seed`` is that of the last training, null where there was none; ``fingerprint`` is
    the ``weights_sha256`` of the artifact, also where it was scored as an exported file.
    """

    SCHEMA: ClassVar[str] = "edgeprune/eval@1"

    model: str
    dg: DGResult
    drop: Drop | None = None
    seed: int | None = None
    versions: dict[str, str] = {}
    machine: MachineFacts | None = None
    fingerprint: str | None = None
    scored: str | None = None
