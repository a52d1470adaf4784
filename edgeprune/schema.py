"""The JSON documents that edgeprune writes and reads: one versioned schema each.

Numbers carry their unit in their name, accuracies are percent, and a figure that was not
measured is null or marked ``estimated``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeprune.errors import EdgepruneError

D = TypeVar("D", bound="Document")


class Facts(BaseModel):
    """A frozen group of facts; unknown keys are refused when it is read from a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Document(Facts):
    """A JSON document with a schema line, such as ``edgeprune/bench@1``."""

    SCHEMA: ClassVar[str]

    schema_line: str = Field(default="", alias="schema")

    def model_post_init(self, context: Any) -> None:
        """Fill in the schema line of a document made in this process."""
        if not self.schema_line:
            object.__setattr__(self, "schema_line", self.SCHEMA)

    def to_json(self) -> str:
        """Return the document as indented JSON text with a final newline."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2) + "\n"


def read_document(path: Path, kind: type[D], error: type[EdgepruneError]) -> D:
    """Read and validate one document.

    Raises:
        error: if the file is missing, is no JSON, or has another or a newer schema.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{str(path)!r} does not exist") from None
    except IsADirectoryError:
        raise error(f"{str(path)!r} is a directory; a JSON file was expected") from None
    except ValueError as problem:  # JSONDecodeError, UnicodeDecodeError, an endless integer
        raise error(f"{str(path)!r} is not valid JSON: {problem}") from None
    return parse_document(raw, str(path), kind, error)


def parse_document(raw: Any, name: str, kind: type[D], error: type[EdgepruneError]) -> D:
    """Validate a decoded JSON value as a document of ``kind``; ``name`` is for messages.

    Raises:
        error: if it has another or a newer schema, or does not fit it.
    """
    found = raw.get("schema") if isinstance(raw, dict) else None
    if found != kind.SCHEMA:
        raise error(
            f"{name!r} has schema {found!r}; this version reads {kind.SCHEMA!r}",
            hint=_newer_hint(found, kind.SCHEMA),
        )
    try:
        return kind.model_validate(raw)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise error(f"{name!r} is damaged: {where}: {first['msg']}") from None


def _newer_hint(found: object, expected: str) -> str | None:
    name, _, version = str(found).partition("@")
    expected_name, _, expected_version = expected.partition("@")
    if name == expected_name and version.isdigit() and int(version) > int(expected_version):
        return "it was written by a newer edgeprune; upgrade with: pip install -U edgeprune"
    return None


class Cost(Facts):
    """Size of a network: parameters, and multiply-accumulates for one image."""

    params: int
    macs: int


class Width(Facts):
    """Width of one dimension of one layer; for ``heads`` a count of heads."""

    name: str
    dim: str
    width: int = Field(ge=1)


class LayerChange(Facts):
    """Width of one dimension of one layer before and after pruning.

    A residual block has the dimension ``blocks``, 1 before and 0 after it was dropped; the
    layers inside a dropped block are not listed.
    """

    name: str
    dim: str
    before: Annotated[int, Field(ge=1, strict=True)]
    after: Annotated[int, Field(ge=0, strict=True)]


class DomainAccuracy(Facts):
    """Top-1 accuracy on one domain, percent, with a 95 % Wilson interval."""

    accuracy: float
    n: int
    ci95: tuple[float, float]


class SplitFacts(Facts):
    """How images were divided: by file (DomainBed's way) or by group (whole drawings)."""

    by: str
    seed: int
    holdout: float


class DGResult(Facts):
    """Domain-generalisation result: accuracy on the domain that was held out.

    ``domains`` holds the target (its test images) and every source domain (its validation
    images); ``source_val_accuracy`` pools the source domains' validation images.
    """

    dataset: str
    target: str
    split: SplitFacts
    target_accuracy: float
    source_val_accuracy: float
    domains: dict[str, DomainAccuracy]


class DataFacts(Facts):
    """Which data were used: name, fingerprint of the file list, held-out domain, split."""

    dataset: str
    fingerprint: str
    target: str
    split: SplitFacts
    samples: int


class LatencyCandidate(Facts):
    """One model that was measured for a latency budget, beside the model as it came.

    Median latencies of both in milliseconds, their ratio with its 95 % interval, and how many
    calls of the candidate were timed.
    """

    macs: int
    params: int
    latency_ms: float
    before_ms: float
    speedup: float
    ci95: tuple[float, float]
    samples: int


class Made(Facts):
    """One step that made an artifact; steps add up from the dense model on.

    Nothing here depends on time or place, so that a seed repeats an artifact byte for byte; the
    exception is what was measured for a latency budget.
    """

    command: str
    options: dict[str, Any]
    seed: int
    data: DataFacts | None = None
    versions: dict[str, str]
    latency: list[LatencyCandidate] = []


class HistoryPoint(Facts):
    """One evaluation during fine-tuning: mean training loss since the last one, and accuracy."""

    step: int
    loss: float
    source_val: float


class ArtifactRecord(Document):
    """``edgeprune.json`` of an artifact directory."""

    SCHEMA: ClassVar[str] = "edgeprune/artifact@1"

    model: str
    family: str
    num_classes: int = Field(ge=1)
    class_names: list[str] | None = None
    img_size: int = Field(ge=1)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    widths: list[Width]
    weights_sha256: str = ""
    parent: str | None = None
    made: list[Made] = []
    dense: Cost
    pruned: Cost
    dg: DGResult | None = None
    history: list[HistoryPoint] = []


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


class FinetuneSeconds(Facts):
    """Wall time of the parts of one fine-tuning; a resumed run counts all its parts."""

    train: float
    evaluate: float
    total: float


class FinetuneResult(Document):
    """What ``edgeprune finetune`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/finetune@1"

    artifact: str
    model: str
    steps: int
    best_step: int
    seconds: FinetuneSeconds
    history: list[HistoryPoint]
    dg: DGResult


class EvalResult(Document):
    """What ``edgeprune eval`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/eval@1"

    model: str
    dg: DGResult


class Parity(Facts):
    """How far an exported file is from the PyTorch model, over ``n`` images.

    ``inputs`` names what was fed: ``random`` noise, and the data set of real images.
    """

    max_abs: float
    top1_agreement: float
    n: int
    inputs: list[str]


class ExportedFile(Facts):
    """One exported file and how it was proved."""

    path: str
    format: str
    precision: str
    opset: int
    bytes: int
    sha256: str
    parity: Parity | None
    verified: str


class ExportResult(Document):
    """What ``edgeprune export`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/export@1"

    model: str
    files: list[ExportedFile]
    seconds: float


class Latency(Facts):
    """Latency of one call in milliseconds; ``ci95`` is the interval on the median (p50).

    A percentile is null where there are too few samples to quote it. Of an estimate, all but the
    median and its interval is null.
    """

    min: float | None
    p50: float
    p90: float | None
    p95: float | None
    p99: float | None
    mean: float | None
    std: float | None
    ci95: tuple[float, float]


class Memory(Facts):
    """Memory in MB (10^6 bytes): the weights, and the peak of the measuring process."""

    weights: float | None
    peak_rss: float | None
    device_peak: float | None


class RawCalls(Facts):
    """Latencies of single calls in the order in which they were taken.

    ``rounds`` is how many calls of each round are kept, every ``every``-th; ``data`` is the base64
    text of the zlib-compressed milliseconds, little-endian float32, all rounds one after another.
    """

    rounds: list[int]
    every: int = 1
    data: str


class EstimatedLayer(Facts):
    """What an estimate gives the operations of one kind in one layer, and what bounds them."""

    name: str
    kind: str
    macs: int
    latency_ms: float
    bound: Literal["compute", "memory", "launch"]


class Measurement(Facts):
    """One model, runtime and batch size, measured in a process of its own.

    ``fingerprint`` is the ``weights_sha256`` of the artifact that was measured, also when it
    was measured as an exported file. An estimate (``estimated``) has no samples, and says how its
    time is made up in ``layers``.
    """

    model: str
    artifact: str | None
    file: str | None
    runtime: str
    device: str
    precision: str
    batch: int
    threads: int
    latency_ms: Latency
    throughput_ips: float
    memory_mb: Memory
    energy_mj: float | None
    samples: int
    estimated: bool
    macs: int | None = None
    params: int | None = None
    warmup: int | None = None
    stop: str | None = None
    rounds: int | None = None
    fingerprint: str | None = None
    raw: RawCalls | None = None
    layers: list[EstimatedLayer] | None = None


class Comparison(Facts):
    """Speed-up of a model over the baseline: ratio of median latencies, with a 95 % interval."""

    model: str
    baseline: str
    batch: int
    speedup: float
    ci95: tuple[float, float]
    macs_ratio: float | None = None


class BenchResult(Document):
    """What ``edgeprune bench`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/bench@1"

    environment: dict[str, Any]
    measurements: list[Measurement]
    comparisons: list[Comparison]
    warnings: list[str] = []


class Finding(Facts):
    """One check of one model in one setting.

    ``baseline`` and ``current`` are figures in ``unit``. ``limit`` is the largest ``ratio`` that is
    accepted; for an accuracy, the lowest ``current``, null if that is not known. ``ci95`` is of the
    ratio, or of the accuracy. ``note`` says what would settle an inconclusive finding.
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
    """What ``edgeprune check`` reports; ``interleaved`` tells if both were measured in one run."""

    SCHEMA: ClassVar[str] = "edgeprune/check@1"

    passed: bool
    strict: bool
    interleaved: bool | None
    findings: list[Finding]
    warnings: list[str] = []
