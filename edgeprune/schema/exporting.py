"""What an export reports: files, and how each was proved."""

from __future__ import annotations

from typing import ClassVar, Literal

from edgeprune.schema.artifacts import DataFacts
from edgeprune.schema.document import Document, Facts


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

    ``inputs`` names what was fed: ``random`` noise, the data set of real images, and ``extreme``
    noise, of which only finite answers are asked and which ``n`` does not count. ``domains``
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


class EngineSummary(Facts):
    """What built an engine, and for which GPU; the whole is in the file ``record`` beside it.

    ``sm`` is the compute capability, such as ``8.6``, or None if it is not known.
    """

    record: str
    builder: str
    chosen: str
    tensorrt: str
    sm: str | None
    warnings: list[str]


class ExportedFile(Facts):
    """One exported file, how it was made, and how it was proved.

    ``verified`` is ``parity``, or ``built`` for an engine that could not be run here. ``input`` is
    ``fp32`` or ``fp16`` for normalised images, NCHW, and ``uint8`` for RGB images as they are
    decoded, NHWC.
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
    engine: EngineSummary | None = None


class ExportResult(Document):
    """What ``edgeprune export`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/export@1"

    model: str
    files: list[ExportedFile]
    seconds: float
    warnings: list[str] = []
