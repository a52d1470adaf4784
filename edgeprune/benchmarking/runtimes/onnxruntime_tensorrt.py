"""ONNX Runtime with TensorRT as its execution provider. Runs in the measuring process.

TensorRT builds its engine when the file is loaded, which can take minutes. Never run on a GPU yet.
"""

from __future__ import annotations

from edgeprune.benchmarking.runtimes.base import Job
from edgeprune.benchmarking.runtimes.onnxruntime import OnnxSession, check_provider, start
from edgeprune.errors import UsageError

FORMAT = "onnx"
PACKAGES = ("onnxruntime-gpu", "onnxruntime", "tensorrt", "numpy")

PROVIDER = "TensorrtExecutionProvider"
# The precision of the file is the precision that is measured.
OPTIONS = {"device_id": "0", "trt_fp16_enable": "0", "trt_int8_enable": "0"}


def load(job: Job) -> OnnxSession:
    """Load an ONNX file, all of it on TensorRT, and run it once.

    Raises:
        UsageError: if the device is not ``cuda``.
        ModelError, UnavailableError: as :func:`start`.
    """
    check_device(job.device)
    import onnxruntime

    return start(onnxruntime, job, PROVIDER, OPTIONS)


def check_device(device: str) -> None:
    """Refuse another device than ``cuda``, and a build without TensorRT.

    Raises:
        UnavailableError, UsageError: naming what is not there.
    """
    if device != "cuda":
        raise UsageError(
            f"runtime 'onnxruntime-tensorrt' does not run on {device!r}; accepted: cuda"
        )
    import onnxruntime

    check_provider(onnxruntime, PROVIDER, device)
