"""``model.PRECISION.engine.json``: what an engine was built from, by what, and for which GPU."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from edgeprune.schema.artifacts import Selection
from edgeprune.schema.document import Document, Facts
from edgeprune.schema.exporting import Parity

# Engines of one are not loaded by the other.
Flavour = Literal["tensorrt", "tensorrt_rtx"]


class BatchProfile(Facts):
    """Batch sizes that an engine takes, and the one that it is tuned for."""

    min: int = Field(ge=1)
    opt: int = Field(ge=1)
    max: int = Field(ge=1)

    @property
    def varies(self) -> bool:
        """Whether the engine takes several."""
        return self.min < self.max


class EngineTensor(Facts):
    """An input or output; a size that varies is ``batch``."""

    name: str
    mode: Literal["input", "output"]
    dtype: str
    shape: list[int | str]


class EngineSource(Facts):
    """The ONNX file that an engine was built from, and how that was proved."""

    sha256: str
    opset: int
    parity: Parity | None


class EngineFacts(Facts):
    """How an engine was built.

    ``sm`` is the compute capability of the GPU that it is for, such as ``8.6``; None if the machine
    that built it does not tell. ``strongly_typed`` is False where TensorRT may lower the precision
    of what the ONNX file keeps in fp32. ``workspace_mb`` is None for TensorRT's own limit.
    """

    builder: str
    chosen: str
    flavour: Flavour
    tensorrt: str
    sm: str | None
    profile: BatchProfile
    strongly_typed: bool
    workspace_mb: float | None
    timing_cache: str | None
    seconds: float


class EnginePreprocess(Facts):
    """How images are made ready: square of this size, then normalised per channel."""

    img_size: int = Field(ge=1)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str


class EngineRecord(Document):
    """What stands beside an engine.

    ``layers`` is what TensorRT's inspector says of each layer; None where the engine cannot be
    loaded on the machine that built it.
    """

    SCHEMA: ClassVar[str] = "edgeprune/engine@1"

    file: str
    bytes: int
    sha256: str
    precision: str
    built: EngineFacts
    onnx: EngineSource
    tensors: list[EngineTensor]
    model: str
    family: str
    class_names: list[str] | None
    preprocess: EnginePreprocess
    selection: Selection | None
    input: str
    layout: Literal["NCHW", "NHWC"]
    macs: int
    params: int
    fingerprint: str | None
    layers: list[Any] | None
    versions: dict[str, str]
    warnings: list[str]

    @property
    def takes_pixels(self) -> bool:
        """Whether the engine normalises images itself."""
        return self.input == "uint8"
