"""Stand-ins for TensorRT and for a GPU: what the documented API looks like, version by version.

They record what is asked of them. An engine of theirs computes what it is told to.
"""

from __future__ import annotations

import enum
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgeprune.engines.files import record_path
from edgeprune.engines.gpu import Array
from edgeprune.files import sha256
from edgeprune.schema import (
    BatchProfile,
    EngineFacts,
    EnginePreprocess,
    EngineRecord,
    EngineSource,
    EngineTensor,
)

# Flags of networks and of builders by version, as NVIDIA's API references list them.
NETWORK_FLAGS = {
    "8.6.2": {"EXPLICIT_BATCH": 0},
    "10.3.0": {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1},
    "11.4.0": {"STRONGLY_TYPED": 0},
}
BUILDER_FLAGS = {
    "8.6.2": ("FP16", "INT8", "TF32"),
    "10.3.0": ("FP16", "INT8", "TF32", "BF16", "FP8"),
    "11.4.0": ("TF32",),
}


class Logger:
    """Base class of loggers."""


@dataclass
class Refusal:
    """An error of the parser; 8.6 gives the number of the node only."""

    number: int
    reason: str
    operator: str | None = None
    name: str | None = None

    def shown(self) -> Any:
        found = SimpleNamespace(node=lambda: self.number, desc=lambda: self.reason)
        if self.operator is not None:
            found.node_operator = lambda: self.operator
            found.node_name = lambda: self.name
        return found


class Config:
    def __init__(self, trt: StandIn) -> None:
        self.trt = trt
        self.flags = {"TF32"}
        self.pools: dict[Any, int] = {}
        self.profiles: list[Any] = []
        self.profiling_verbosity: Any = None
        self.timings = b""

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag.name)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.pools[pool] = size

    def add_optimization_profile(self, profile: Any) -> int:
        least, best, most = (shape[0] for shape in profile.shapes)
        if not least <= best <= most:
            return -1
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, data: bytes) -> Any:
        return data if data in (b"", b"times") else None

    def set_timing_cache(self, data: bytes, ignore_mismatch: bool) -> bool:
        self.timings = data
        return True

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: b"times")


class Profile:
    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.name, self.shapes = name, shapes


class Builder:
    def __init__(self, trt: StandIn, log: Any) -> None:
        self.trt, self.log = trt, log
        trt.builders.append(self)

    def create_network(self, flags: int) -> Any:
        self.network_flags = flags
        return SimpleNamespace()

    def create_builder_config(self) -> Config:
        self.config = Config(self.trt)
        return self.config

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Any, config: Config) -> bytes | None:
        for message in self.trt.build_errors:
            self.log.log(SimpleNamespace(name="ERROR"), message)
        return None if self.trt.build_errors else self.trt.engine


class Parser:
    def __init__(self, trt: StandIn) -> None:
        self.trt = trt
        self.num_errors = len(trt.refusals)

    def parse_from_file(self, path: str) -> bool:
        return not self.trt.refusals

    def get_error(self, index: int) -> Any:
        return self.trt.refusals[index].shown()


class Context:
    def __init__(self, trt: StandIn) -> None:
        self.trt = trt
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return name == self.trt.names[0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.shape[0], self.trt.classes)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.trt.runs.append(stream)
        if self.trt.fails_to_run:
            return False
        memory = self.trt.memory
        assert memory is not None
        given, taken = (self.addresses[name] for name in self.trt.names)
        memory[taken][:] = self.trt.compute(memory[given])
        return True


class Engine:
    num_io_tensors = 2

    def __init__(self, trt: StandIn) -> None:
        self.trt = trt

    def get_tensor_name(self, index: int) -> str:
        return self.trt.names[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=self.trt.types[self.trt.names.index(name)])

    def create_execution_context(self) -> Context:
        return Context(self.trt)

    def create_engine_inspector(self) -> Any:
        text = json.dumps({"Layers": [{"Name": "blocks.0.mlp.fc1"}], "Bindings": ["images"]})
        return SimpleNamespace(get_engine_information=lambda form: text)


@dataclass
class StandIn:
    """The module ``tensorrt`` of one version."""

    version: str = "10.3.0"
    refusals: list[Refusal] = field(default_factory=list)
    build_errors: Sequence[str] = ()
    engine: bytes = b"engine"
    loads: bool = True
    fails_to_run: bool = False
    classes: int = 3
    compute: Callable[[Array], Array] = lambda images: images.mean((2, 3))
    names: tuple[str, str] = ("images", "logits")
    types: tuple[str, str] = ("FLOAT", "FLOAT")
    memory: dict[int, Array] | None = None
    builders: list[Builder] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)

    ILogger = Logger

    def __post_init__(self) -> None:
        self.__version__ = self.version
        self.NetworkDefinitionCreationFlag = enum.IntEnum("Flag", NETWORK_FLAGS[self.version])
        self.BuilderFlag = enum.Enum("BuilderFlag", BUILDER_FLAGS[self.version])
        self.MemoryPoolType = enum.Enum("MemoryPoolType", ["WORKSPACE"])
        self.ProfilingVerbosity = enum.Enum("ProfilingVerbosity", ["DETAILED"])
        self.LayerInformationFormat = enum.Enum("LayerInformationFormat", ["JSON"])

    def Builder(self, log: Any) -> Builder:  # noqa: N802  TensorRT's name
        return Builder(self, log)

    def OnnxParser(self, network: Any, log: Any) -> Parser:  # noqa: N802
        return Parser(self)

    def Runtime(self, log: Any) -> Any:  # noqa: N802
        def load(data: bytes) -> Engine | None:
            if not self.loads:
                log.log(SimpleNamespace(name="ERROR"), "cudaError 35:\n  insufficient driver")
            return Engine(self) if self.loads else None

        return SimpleNamespace(deserialize_cuda_engine=load)


class RecordedGpu:
    """Memory of a process for memory of a GPU; ``calls`` lists what was asked of it."""

    stream = 7

    def __init__(self, sm: str | None = "8.7") -> None:
        self.sm = sm
        self.memory: dict[int, Array] = {}
        self.calls: list[str] = []

    def upload(self, array: Array) -> int:
        self.calls.append(f"upload {array.shape} {array.dtype}")
        self.memory[id(array)] = array
        return id(array)

    def address(self, buffer: int) -> int:
        return buffer

    def download(self, buffer: int) -> Array:
        self.calls.append("download")
        return self.memory[buffer].copy()

    def synchronize(self) -> None:
        self.calls.append("synchronize")


def install_trtexec(folder: Path, version: str) -> Path:
    """Put a program into ``folder`` that answers as trtexec of TensorRT 8.6, 10.3 or 11.1."""
    folder.mkdir(exist_ok=True)
    program = folder / f"trtexec-{version}"
    shutil.copy(Path(__file__).with_name("trtexec_stand_in.py"), program)
    program.chmod(0o755)
    return program


def write_engine(
    path: Path, built: dict[str, Any] | None = None, precision: str = "fp16", **engine: Any
) -> Path:
    """Write an engine for the stand-in of trtexec, with its record beside it.

    No architecture is told, so that tests do not depend on the machine's GPU.
    """
    path.write_text(json.dumps(engine))
    known = record(**{"sm": None, **(built or {})}).model_copy(
        update={"sha256": sha256(path), "precision": precision}
    )
    record_path(path).write_text(known.to_json(), encoding="utf-8")
    return path


def record(**changes: Any) -> EngineRecord:
    """What stands beside an engine for a Jetson Orin, with ``changes`` in how it was built."""
    profile = BatchProfile(min=1, opt=1, max=4)
    built = {
        "builder": "tensorrt",
        "chosen": "asked for",
        "flavour": "tensorrt",
        "tensorrt": "10.3.0",
        "sm": "8.7",
        "profile": profile,
        "strongly_typed": True,
        "workspace_mb": None,
        "timing_cache": None,
        "seconds": 1.0,
    }
    return EngineRecord(
        file="model.fp16.engine",
        bytes=6,
        sha256="0" * 64,
        precision="fp16",
        built=EngineFacts.model_validate(built | changes),
        onnx=EngineSource(sha256="1" * 64, opset=18, parity=None),
        tensors=[
            EngineTensor(name="images", mode="input", dtype="float", shape=["batch", 3, 8, 8]),
            EngineTensor(name="logits", mode="output", dtype="float", shape=["batch", 3]),
        ],
        model="vit_tiny_patch16_224",
        family="vit",
        class_names=None,
        preprocess=EnginePreprocess(
            img_size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bicubic"
        ),
        selection="source",
        input="fp32",
        layout="NCHW",
        macs=1000,
        params=10,
        fingerprint="f" * 64,
        layers=None,
        versions={},
        warnings=[],
    )
