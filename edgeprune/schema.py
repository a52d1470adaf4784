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


# What picked the step: source validation, the end of training, or the target itself.
Selection = Literal["source", "last", "oracle"]


class NamedAccuracy(Facts):
    """Accuracy on one domain, percent."""

    name: str
    accuracy: float


class DGResult(Facts):
    """Domain-generalisation result: accuracy on the domains that were held out.

    ``domains`` holds every held-out domain (its test images) and every source domain (its
    validation images); ``source_val_accuracy`` pools the source domains' validation images.

    ``target`` is the domain that was left out. Where several were (training on one domain), it
    is a name for all of them, ``targets`` lists them, and every figure of the target is the mean
    over them. ``targets`` and ``sources`` are empty in files from before they were recorded.

    ``selection`` is null where nothing was trained, or it is not known. All in percent:
    ``class_accuracy`` of the target (null: no image of that class), ``balanced_accuracy``, its
    mean, ``calibration_error``, the expected calibration error in 15 bins of equal width (Guo et
    al., 2017), and ``worst_domain`` of all that were scored; null where they were not computed.
    """

    dataset: str
    target: str
    targets: list[str] = []
    sources: list[str] = []
    split: SplitFacts
    selection: Selection | None = "source"
    target_accuracy: float
    target_ci95: tuple[float, float] | None = None
    source_val_accuracy: float
    domains: dict[str, DomainAccuracy]
    class_accuracy: dict[str, float | None] | None = None
    balanced_accuracy: float | None = None
    calibration_error: float | None = None
    worst_domain: NamedAccuracy | None = None

    @property
    def held_out(self) -> list[str]:
        """The domains that were held out."""
        return self.targets or [self.target]

    @property
    def target_interval(self) -> tuple[float, float] | None:
        """95 % interval of the accuracy on the target, if it is known."""
        found = self.domains.get(self.target)
        return self.target_ci95 or (found.ci95 if found else None)

    @property
    def target_n(self) -> int | None:
        """How many images of the target were scored, if that is known."""
        found = [self.domains[name].n for name in self.held_out if name in self.domains]
        return sum(found) if found else None


class Drop(Facts):
    """What a model lost against the dense one, on the same images of the target.

    ``points`` is its accuracy minus the dense one's, in percentage points, below 0 for a loss;
    ``ci95`` comes from a paired bootstrap over images, or over groups where the split is by
    group; ``flipped`` is the share of images that the two put into different classes, percent.
    ``against`` names the dense model.
    """

    against: str
    points: float
    ci95: tuple[float, float]
    flipped: float
    n: int
    resampled: Literal["image", "group"]


class DataFacts(Facts):
    """Which data were used: name, fingerprint of the file list, held-out domain, split.

    ``target`` and ``sources`` as in :class:`DGResult`.
    """

    dataset: str
    fingerprint: str
    target: str
    sources: list[str] = []
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
    averaged_steps: tuple[int, int] | None = None


class HistoryPoint(Facts):
    """One evaluation during fine-tuning.

    Mean training loss since the last one; accuracy and mean cross-entropy on all validation images
    of the source domains together. The target is scored only where it picks the step (oracle
    selection).
    """

    step: int
    loss: float
    source_val: float
    source_val_loss: float | None = None
    target: float | None = None


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

    ``seed`` is that of the last training, null where there was none; ``fingerprint`` is the
    ``weights_sha256`` of the artifact, also where it was scored as an exported file.
    """

    SCHEMA: ClassVar[str] = "edgeprune/eval@1"

    model: str
    dg: DGResult
    drop: Drop | None = None
    seed: int | None = None
    versions: dict[str, str] = {}
    machine: MachineFacts | None = None
    fingerprint: str | None = None


class DomainParity(Facts):
    """An exported file beside PyTorch on the ``n`` labelled images of one domain, percent.

    ``drop_ci95`` is the 95 % interval of the paired drop of accuracy, in points.
    """

    accuracy: float
    pytorch: float
    drop_ci95: tuple[float, float]
    n: int
    top1_agreement: float
    max_abs: float
    mean_abs: float


class SourceParity(Facts):
    """Accuracy of a file and of PyTorch on the source domains' validation images together."""

    accuracy: float
    pytorch: float
    drop: float
    n: int


class Parity(Facts):
    """How far an exported file is from the PyTorch model, over ``n`` images.

    ``inputs`` names what was fed: ``random`` noise, and the data set of real images. ``domains``
    and what belongs to it is there where accuracy was measured.
    """

    max_abs: float
    mean_abs: float
    top1_agreement: float
    n: int
    inputs: list[str]
    domains: dict[str, DomainParity] = {}
    source_val: SourceParity | None = None
    target: str | None = None
    worst_domain: str | None = None


class KeptLayer(Facts):
    """A part that stayed in fp32, why, and for int8 how much its rounding moves the answers.

    ``harm`` is a Kullback-Leibler divergence in nats.
    """

    name: str
    reason: Literal["accuracy", "range"]
    harm: float | None = None


class Int8Facts(Facts):
    """How a file was quantised."""

    mode: str
    runtime: str
    calibration: str | None
    data: DataFacts | None


class ExternalData(Facts):
    """The file beside an ONNX file that holds its weights."""

    path: str
    bytes: int
    sha256: str


class ExportedFile(Facts):
    """One exported file, how it was made, and how it was proved.

    ``input`` is ``fp32`` or ``fp16`` for normalised images, NCHW, and ``uint8`` for RGB images as
    they are decoded, NHWC.
    """

    path: str
    format: str
    precision: str
    opset: int
    bytes: int
    sha256: str
    parity: Parity | None
    verified: str
    input: str = "fp32"
    optimized: bool = False
    external: ExternalData | None = None
    int8: Int8Facts | None = None
    kept: list[KeptLayer] = []


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
