"""What differs between the Python APIs of TensorRT 8.6, 10, 11 and RTX: here, and only here.

Each difference is asked of the module itself. The first argument of every function is that module.

References:
    NVIDIA, "Migrating from TensorRT 8.x to 10.x" and "Migrating from TensorRT 10.x to 11.x".
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from edgeprune.errors import EngineError, UnavailableError

# The first whose ONNX parser knows LayerNormalization.
OLDEST = (8, 6)
TOO_OLD = (
    "TensorRT {version} is too old for transformers: its ONNX parser has no LayerNormalization;"
    " 8.6 and newer are supported"
)

# Where networks are not strongly typed, a precision in the graph is used only if its flag is set.
FLAGS = {"fp32": (), "fp16": ("FP16",), "int8": ("INT8",)}

# What images and logits can be.
NUMPY_TYPES = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8"}


def check_version(trt: Any) -> str:
    """Return the version. Raises UnavailableError if it is too old."""
    version = str(trt.__version__)
    # TensorRT-RTX counts from 1; it has come after TensorRT 10.
    if is_too_old(version) and not hasattr(trt, "ComputeCapability"):
        raise UnavailableError(TOO_OLD.format(version=version))
    return version


def is_too_old(version: str) -> bool:
    """Whether a version of TensorRT is older than the first that can build transformers."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST


def architectures(trt: Any) -> tuple[str, ...]:
    """Return the architectures that can be named; none where only the GPU at hand is built for."""
    known = getattr(getattr(trt, "ComputeCapability", None), "__members__", {})
    digits = [name[2:] for name in known if re.fullmatch(r"SM\d+", name)]
    return tuple(f"{text[:-1]}.{text[-1]}" for text in sorted(digits, key=int))


def logger(trt: Any) -> Any:
    """Return a logger that keeps messages, in ``messages``, as (severity, text), and shows none."""

    class Messages(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[tuple[str, str]] = []

        def log(self, severity: Any, message: str) -> None:
            self.messages.append((str(getattr(severity, "name", severity)), message))

    return Messages()


def errors(log: Any) -> list[str]:
    """Return the errors that a logger has kept, in one line each."""
    kinds = ("ERROR", "INTERNAL_ERROR")
    return [" ".join(text.split()) for kind, text in log.messages if kind in kinds]


def network(trt: Any, builder: Any) -> tuple[Any, bool]:
    """Return an empty network, and whether it is strongly typed.

    8.6 has no strong typing and needs the flag of explicit batches. 10 has both flags, the second
    without effect. 11 and RTX have strongly typed networks only.
    """
    known = getattr(trt.NetworkDefinitionCreationFlag, "__members__", {})
    wanted = [known[name] for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED") if name in known]
    flags = sum(1 << int(flag) for flag in wanted)
    return builder.create_network(flags), "STRONGLY_TYPED" in known


def allow_precision(trt: Any, config: Any, precision: str, strongly_typed: bool) -> None:
    """Allow a precision that the graph asks for, where types alone do not."""
    if not strongly_typed:
        for name in FLAGS[precision]:
            config.set_flag(getattr(trt.BuilderFlag, name))


def compute_in_fp32(trt: Any, config: Any) -> None:
    """Forbid TF32, which is on by default and keeps ten bits of each number in fp32 products."""
    config.clear_flag(trt.BuilderFlag.TF32)


def limit_workspace(trt: Any, config: Any, size_bytes: int) -> None:
    """Limit the scratch memory that layers may use."""
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size_bytes)


def build_for(trt: Any, config: Any, sm: str) -> None:
    """Build for a named architecture instead of the GPU at hand. Raises EngineError."""
    config.num_compute_capabilities = 1
    capability = getattr(trt.ComputeCapability, f"SM{sm.replace('.', '')}")
    if not config.set_compute_capability(capability, 0):
        raise EngineError(f"TensorRT {trt.__version__} does not take the architecture {sm}")


def keep_timings(trt: Any, config: Any, data: bytes, name: str) -> None:
    """Give a build the timing cache in ``data``, empty for a new one. Raises EngineError."""
    timings = config.create_timing_cache(data)
    if timings is None or not config.set_timing_cache(timings, False):
        raise EngineError(
            f"{name!r} is no timing cache of TensorRT {trt.__version__} for this GPU",
            hint="delete it, or name another with --timing-cache",
        )


def timings(config: Any) -> bytes:
    """Return the timing cache after a build."""
    return bytes(config.get_timing_cache().serialize())


def refusals(parser: Any, node_of: Any) -> list[tuple[str, str, str]]:
    """Return (operator, node, reason) of every error of the ONNX parser.

    8.6 gives the node's number only, which ``node_of`` turns into (operator, node).
    """
    found = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        if hasattr(error, "node_operator"):
            operator, node = error.node_operator(), error.node_name()
        else:
            operator, node = node_of(error.node())
        found.append((operator, node, " ".join(str(error.desc()).split())))
    return found


def numpy_type(dtype: Any) -> np.dtype[Any]:
    """Return numpy's type for one of TensorRT.

    ``tensorrt.nptype`` of 8.6 uses names that newer versions of numpy do not have.
    """
    return np.dtype(NUMPY_TYPES[dtype.name])


def layers(trt: Any, log: Any, engine: bytes) -> list[Any] | None:
    """Return what the inspector says of each layer; None if the engine cannot be loaded here."""
    loaded = trt.Runtime(log).deserialize_cuda_engine(engine)
    if loaded is None:
        return None
    text = loaded.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return layers_of(text)


def layers_of(text: str) -> list[Any] | None:
    """Return the layers in an inspector's JSON; None if it has none."""
    try:
        facts = json.loads(text)
    except ValueError:
        return None
    found = facts.get("Layers") if isinstance(facts, dict) else None
    return found if isinstance(found, list) else None
