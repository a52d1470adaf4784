"""What can be chosen about an export, checked as soon as it is chosen."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeprune.engines.settings import EngineSettings
from edgeprune.errors import UsageError, one_of
from edgeprune.exporting.calibration import METHODS
from edgeprune.exporting.int8 import FLAVOURS
from edgeprune.exporting.onnx import DEFAULT_OPSET, check_range
from edgeprune.exporting.translations import ATTENTION_OPSET

PRECISIONS = ("fp32", "fp16", "int8")
MODES = ("static", "dynamic")


@dataclass(frozen=True)
class Int8Settings:
    """How to quantise.

    Attributes:
        mode: ``static`` takes the ranges of activations from calibration images, ``dynamic`` from
            every batch as it comes.
        method: how ranges are chosen, one of ``minmax``, ``percentile``, ``entropy``.
        runtime: ``cpu`` for CPUs with 8-bit dot products (VNNI), ``cpu-avx2`` for x86 CPUs
            without, ``tensorrt`` for TensorRT.
        max_drop: points of accuracy on source validation that may be lost, also by fp16.
        samples: calibration images.

    Raises:
        UsageError: if a value is not accepted.
    """

    mode: str = "static"
    method: str = "minmax"
    runtime: str = "cpu"
    max_drop: float = 0.5
    samples: int = 128

    def __post_init__(self) -> None:
        one_of(self.mode, "int8 mode", MODES)
        one_of(self.method, "calibration", METHODS)
        one_of(self.runtime, "runtime of int8", FLAVOURS)
        if not 0 <= self.max_drop <= 100:
            raise UsageError(f"a drop of {self.max_drop:g} points is not accepted; 0 to 100 are")
        if self.mode == "dynamic" and self.runtime == "tensorrt":
            raise UsageError("TensorRT needs static int8: its ranges come from calibration")


@dataclass(frozen=True)
class ExportSettings:
    """How to export.

    Attributes:
        precisions: one file each.
        opset: ONNX operator set; before 18, for older runtimes, in fp32 only.
        batch: a fixed batch size, or None for a dynamic one.
        io: type of the input and output of an fp16 file.
        pixels: take images as they are decoded, and normalise them in the graph.
        optimize: write the graph as ONNX Runtime has optimised it.
        int8: how to quantise.
        onnx: keep the ONNX files.
        engine: how to build a TensorRT engine of each, or None for none.
        round_to: refuse a model with a width that is not a multiple of this.
        seed: of the choice of calibration images.

    Raises:
        UsageError: if a value is not accepted, or two contradict each other.
    """

    precisions: tuple[str, ...] = ("fp32",)
    opset: int = DEFAULT_OPSET
    batch: int | None = None
    io: str = "fp32"
    pixels: bool = False
    optimize: bool = False
    int8: Int8Settings = field(default_factory=Int8Settings)
    onnx: bool = True
    engine: EngineSettings | None = None
    round_to: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_range(self.opset, self.batch)
        if self.round_to < 1:
            raise UsageError(f"round-to {self.round_to} is not accepted; 1 and more are")
        one_of(self.io, "type of input and output", ("fp32", "fp16"))
        for precision in self.precisions:
            one_of(precision, "precision", PRECISIONS)
        if not self.precisions or len(set(self.precisions)) < len(self.precisions):
            raise UsageError(f"precisions {self.precisions} are not accepted; each once")
        if self.opset < DEFAULT_OPSET and (self.optimize or self.precisions != ("fp32",)):
            what = "--optimize" if self.optimize else f"precision {self.precisions[-1]!r}"
            raise UsageError(
                f"opset {self.opset} is for runtimes that choose the precision themselves:"
                f" {what} is not accepted with it",
                hint=f"--precision fp32, or --opset {DEFAULT_OPSET} and more",
            )
        if self.io == "fp16" and "fp16" not in self.precisions:
            raise UsageError("fp16 input and output need --precision fp16")
        if self.optimize and "fp16" in self.precisions:
            raise UsageError(
                "ONNX Runtime's CPU optimiser would put casts to fp32 into an fp16 file",
                hint="runtimes for fp16 optimise as they load; leave --optimize away",
            )
        for_tensorrt = "int8" in self.precisions and self.int8.runtime == "tensorrt"
        if self.optimize and (for_tensorrt or self.engine is not None):
            raise UsageError(
                "TensorRT cannot read operators of ONNX Runtime; leave --optimize away"
            )
        if self.engine is not None:
            self._check_engine(self.engine)
        elif not self.onnx:
            raise UsageError("export needs a format: --onnx or --tensorrt")

    def _check_engine(self, engine: EngineSettings) -> None:
        engine.profile(self.batch)
        if self.opset >= ATTENTION_OPSET:
            raise UsageError(
                f"ONNX opset {self.opset} writes attention as one operator, which TensorRT refuses:"
                " in fp16 always, since softmax stays in fp32, else at head sizes such as 64",
                hint=f"--opset {DEFAULT_OPSET} to {ATTENTION_OPSET - 1} build",
            )
        if "int8" in self.precisions and self.int8.runtime != "tensorrt":
            raise UsageError(
                f"TensorRT refuses int8 that is made for {self.int8.runtime!r};"
                " --for tensorrt is accepted with --tensorrt"
            )
