"""What an artifact records: widths, how it was made, and how well it does."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from edgeprune.schema.document import Document, Facts


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


class BaseWeights(Facts):
    """Where the weights that a dense model started from come from; null what is not known.

    ``name`` is the repository on the hub, or the file's; ``source`` a sentence.
    """

    origin: Literal["hub", "file", "random"]
    name: str | None = None
    source: str | None = None
    licence: str | None = None
    sha256: str | None = None


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
    base: BaseWeights | None = None
    parent: str | None = None
    made: list[Made] = []
    dense: Cost
    pruned: Cost
    dg: DGResult | None = None
    history: list[HistoryPoint] = []
