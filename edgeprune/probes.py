"""Trying, in a process of its own, whether a package or runtime really works here.

``python -m edgeprune.probes NAME...`` tries each name in turn and writes one JSON line before
and one after each. A library that crashes the process therefore names itself, and takes nothing
else down. A name is ``import:MODULE`` or a key of ``PROBES``.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from edgeprune.errors import EdgepruneError

if TYPE_CHECKING:
    from edgeprune.engines.gpu import Gpu

TIMEOUT_S = 300
OPSET = 17


@dataclass(frozen=True)
class Probe:
    """What one probe found: ``ok``, ``missing`` (not installed) or ``broken``, and why."""

    name: str
    status: str
    detail: str


class _MissingError(Exception):
    """The package that a probe needs is not installed."""


def run_probes(names: Sequence[str], timeout_s: float = TIMEOUT_S) -> Iterator[Probe]:
    """Try each name in a child process; yields one result per name, in order.

    A child that crashes or hangs makes the probe it was in ``broken``; the rest goes on in
    another child.
    """
    left = list(names)
    while left:
        before = len(left)
        command = [sys.executable, "-m", "edgeprune.probes", *left]
        started = None
        try:
            child = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
            output, ending = child.stdout, _ending(child)
        except subprocess.TimeoutExpired as expired:
            output = (expired.stdout or b"").decode(errors="replace")  # bytes even with text=True
            ending = f"no answer within {timeout_s:g} s"
        for line in output.splitlines():
            record = json.loads(line)
            started = record["name"]
            if "status" in record:
                left.remove(record["name"])
                started = None
                yield Probe(**record)
        if left and (started or len(left) == before):
            yield Probe(started or left[0], "broken", ending)
            left.remove(started or left[0])


def _ending(child: subprocess.CompletedProcess[str]) -> str:
    if child.returncode < 0:
        return f"crashed with signal {-child.returncode}"
    lines = child.stderr.strip().splitlines()
    return lines[-1] if lines else f"ended with code {child.returncode}"


def _try(name: str) -> Probe:
    kind, _, module = name.partition(":")
    try:
        detail = _import(module) if kind == "import" else PROBES[name]()
    except _MissingError as missing:
        return Probe(name, "missing", str(missing))
    except EdgepruneError as error:
        return Probe(name, "broken", str(error))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        return Probe(name, "broken", f"{type(error).__name__}: {reason}")
    return Probe(name, "ok", detail)


def _import(module: str) -> str:
    if importlib.util.find_spec(module) is None:
        raise _MissingError(f"{module} is not installed")
    importlib.import_module(module)
    return ""


def _onnx_model() -> bytes:
    """Return relu(x @ w + b) as ONNX: three nodes, answer known."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["y"]),
    ]
    weights = [
        helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [1, -1, 1, -1]),
        helper.make_tensor("b", TensorProto.FLOAT, [2], [1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        weights,
    )
    # IR version 8 came with opset 17; a newer one is refused by older runtimes.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return bytes(model.SerializeToString())


def _run_onnxruntime(provider: str) -> None:
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    if provider != "CPUExecutionProvider":
        # Without this a provider that does not load falls back to the CPU without an error.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = ort.InferenceSession(_onnx_model(), options, providers=[provider])
    if session.get_providers()[0] != provider:
        raise RuntimeError(f"the session runs on {session.get_providers()[0]} instead")
    (found,) = session.run(None, {"x": np.array([[2.0, 3.0]], dtype=np.float32)})
    _check(found.tolist())


def _onnxruntime_cpu() -> str:
    _import("onnxruntime")
    _run_onnxruntime("CPUExecutionProvider")
    return "ran a 3-node model"


def _onnxruntime_cuda() -> str:
    _import("onnxruntime")
    import onnxruntime as ort

    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise _MissingError("this build of onnxruntime has no CUDA provider")
    _run_onnxruntime("CUDAExecutionProvider")
    return "ran a 3-node model"


def _torch_matmul(device: str) -> None:
    import torch

    ones = torch.ones(4, 4, device=device)
    found = float((ones @ ones).sum())
    if found != 64.0:
        raise RuntimeError(f"wrong result {found}; 64.0 was expected")


def _torch_cpu() -> str:
    _import("torch")
    _torch_matmul("cpu")
    return "multiplied matrices"


def _torch_cuda() -> str:
    _import("torch")
    import torch

    if torch.version.cuda is None:
        raise _MissingError("this build of torch has no CUDA")
    if not torch.cuda.is_available():
        raise _MissingError(f"torch (CUDA {torch.version.cuda}) finds no GPU or no driver")
    _torch_matmul("cuda")
    return f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}"


def _tensorrt(module: str) -> str:
    _import(module)
    from edgeprune.engines.build import probe

    return f"{probe(importlib.import_module(module), module).version}, made a builder"


def _trtexec() -> str:
    from edgeprune.engines.builders import trtexec

    found = trtexec.find()
    if found.version is None:
        raise _MissingError(found.missing)
    return f"{found.version}, {found.program}"


def _engines() -> str:
    from edgeprune.engines.gpu import TorchGpu
    from edgeprune.engines.runner import installed, load

    names = list(installed())
    if not names:
        raise _MissingError("no TensorRT is installed")
    gpu = TorchGpu()
    for name in names:
        _run_engine(load(name), gpu)
    return f"{', '.join(names)}: ran a 3-node engine"


def _run_engine(trt: Any, gpu: Gpu) -> None:
    """Build an engine for this GPU and run it."""
    import numpy as np

    from edgeprune.engines.build import build
    from edgeprune.engines.builders.base import Request
    from edgeprune.engines.loaded import LoadedEngine

    with tempfile.TemporaryDirectory(prefix="edgeprune-") as scratch:
        source, engine = Path(scratch) / "probe.onnx", Path(scratch) / "probe.engine"
        source.write_bytes(_onnx_model())
        build(trt, Request(str(source), str(engine), "x", (1, 2), (1, 1, 1), "fp32"))
        loaded = LoadedEngine(engine.read_bytes(), ("x", "y"), trt, gpu)
    loaded.feed(np.array([[2.0, 3.0]], dtype=np.float32))
    loaded.run()
    _check(loaded.result().tolist())


def _check(found: list[list[float]]) -> None:
    if found != [[6.0, 0.0]]:
        raise RuntimeError(f"wrong result {found}; [[6.0, 0.0]] was expected")


PROBES: dict[str, Callable[[], str]] = {
    "onnxruntime-cpu": _onnxruntime_cpu,
    "onnxruntime-cuda": _onnxruntime_cuda,
    "torch-cpu": _torch_cpu,
    "torch-cuda": _torch_cuda,
    "tensorrt": lambda: _tensorrt("tensorrt"),
    "tensorrt-rtx": lambda: _tensorrt("tensorrt_rtx"),
    "trtexec": _trtexec,
    "engines": _engines,
}


def _write(stream: TextIO, record: dict[str, str]) -> None:
    stream.write(json.dumps(record) + "\n")
    stream.flush()


def main(names: Sequence[str]) -> None:
    """Try each name and write JSON lines; what libraries print goes to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stream:
        os.dup2(2, 1)
        for name in names:
            _write(stream, {"name": name})
            probe = _try(name)
            _write(stream, {"name": probe.name, "status": probe.status, "detail": probe.detail})


if __name__ == "__main__":
    main(sys.argv[1:])
