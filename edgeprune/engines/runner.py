"""An engine that is loaded, behind TensorRT's documented API of 8.5 and newer.

Nothing in this file has been run on a GPU by this project: tests run it against stand-ins of
TensorRT and of the GPU.

References:
    NVIDIA TensorRT Python API: IRuntime, ICudaEngine, IExecutionContext.
"""

from __future__ import annotations

import importlib
import importlib.util
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.engines import api
from edgeprune.engines.files import NAMES, Here, misfit, read_record
from edgeprune.engines.gpu import Array, Gpu, TorchGpu
from edgeprune.environment import version_of
from edgeprune.errors import EngineError, UnavailableError, UsageError
from edgeprune.onnx_runner import decoded
from edgeprune.schema import EngineRecord

GET = {
    "tensorrt": "pip install 'edgeprune[nvidia]'; on a Jetson it comes with JetPack",
    "tensorrt_rtx": "pip install 'edgeprune[tensorrt]'",
}


class EngineRunner:
    """An engine with an execution context, and buffers for one batch size at a time.

    Attributes:
        record: what is known of the engine.
    """

    def __init__(self, path: Path, record: EngineRecord, trt: Any, gpu: Gpu) -> None:
        """Load an engine.

        Raises:
            UnavailableError: if it does not fit this machine, or TensorRT does not load it.
            EngineError: if it has other inputs or outputs than its record says.
        """
        self.record = record
        self._gpu = gpu
        here = Here({record.built.flavour: str(trt.__version__)}, gpu.sm)
        _refuse_misfit(path, record, here)
        self._log = api.logger(trt)
        # The runtime has to live as long as its engine.
        self._runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise UnavailableError(f"TensorRT does not load {str(path)!r}: {self._reason()}")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        told = {tensor.mode: tensor.name for tensor in record.tensors}
        if sorted(names) != sorted(told.values()):
            raise EngineError(
                f"{str(path)!r} has the inputs and outputs {', '.join(names)};"
                f" {', '.join(told.values())} were expected"
            )
        self._input, self._output = told["input"], told["output"]
        self._types = {
            name: np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))) for name in names
        }
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise UnavailableError(
                f"there is not enough memory on the GPU to run {str(path)!r}: {self._reason()}"
            )
        self._buffers: tuple[Any, Any] | None = None

    @property
    def batch(self) -> int | None:
        """The only batch size that it takes, or None for several."""
        profile = self.record.built.profile
        return profile.max if profile.min == profile.max else None

    @property
    def takes_pixels(self) -> bool:
        """Whether it normalises images itself."""
        return self.record.input == "uint8"

    def prepare(self, images: Array) -> None:
        """Put normalised images ``(batch, 3, size, size)`` on the GPU, for :meth:`run`.

        Raises:
            UsageError: if the engine does not take this batch size.
        """
        profile = self.record.built.profile
        if not profile.min <= len(images) <= profile.max:
            accepted = "is" if self.batch else f"to {profile.max} are"
            raise UsageError(
                f"a batch of {len(images)} is not accepted by {self.record.file!r};"
                f" {profile.min} {accepted}"
            )
        fed = self._converted(images)
        if not self._context.set_input_shape(self._input, fed.shape):
            raise EngineError(f"the engine does not take images of shape {fed.shape}")
        shape = tuple(self._context.get_tensor_shape(self._output))
        outputs = self._gpu.upload(np.zeros(shape, self._types[self._output]))
        self._buffers = (self._gpu.upload(fed), outputs)
        for name, buffer in zip((self._input, self._output), self._buffers, strict=True):
            if not self._context.set_tensor_address(name, self._gpu.address(buffer)):
                raise EngineError(f"TensorRT does not take the buffer of {name!r}")

    def run(self) -> None:
        """Run the batch that was prepared, and wait for the end. Raises EngineError."""
        if not self._context.execute_async_v3(self._gpu.stream):
            raise EngineError(f"the engine failed to run: {self._reason()}")
        self._gpu.synchronize()

    def logits(self, images: Array) -> Array:
        """Return fp32 logits ``(n, classes)`` of normalised images ``(n, 3, size, size)``."""
        size = self.batch or min(len(images), self.record.built.profile.max)
        # A fixed batch is filled up with images from the beginning.
        wanted = len(images) + (-len(images) % self.batch if self.batch else 0)
        filled = images[np.arange(wanted) % len(images)]
        parts = []
        for start in range(0, len(filled), size):
            self.prepare(filled[start : start + size])
            self.run()
            assert self._buffers is not None  # prepared above
            parts.append(self._gpu.download(self._buffers[1]))
        found: Array = np.concatenate(parts)[: len(images)].astype(np.float32)
        return found

    def peak_bytes(self) -> int | None:
        """Return the peak memory on the GPU."""
        return self._gpu.peak_bytes()

    def _converted(self, images: Array) -> Array:
        if self.takes_pixels:
            facts = self.record.preprocess
            return decoded(images, facts["mean"], facts["std"])
        return images.astype(self._types[self._input])

    def _reason(self) -> str:
        return (api.errors(self._log) or ["it gives no reason"])[0][:300]


def open_engine(path: Path) -> EngineRunner:
    """Load an engine on this machine's GPU.

    Raises:
        EngineError: if the file is missing or not sound.
        UnavailableError: if there is no GPU or no TensorRT, or it does not fit this machine.
    """
    record = read_record(path)
    _refuse_misfit(path, record, Here(installed(), None))
    gpu = TorchGpu()
    try:
        trt = importlib.import_module(record.built.flavour)
    except Exception as error:
        raise UnavailableError(
            f"{NAMES[record.built.flavour]} does not load: {' '.join(str(error).split())[:200]}"
        ) from error
    return EngineRunner(path, record, trt, gpu)


def installed() -> dict[str, str]:
    """Return the versions of TensorRT that are installed here, by flavour, without loading them.

    A version is empty where the package does not tell it.
    """
    owners = metadata.packages_distributions()
    return {
        flavour: version_of(owners[flavour][0]) or "" if flavour in owners else ""
        for flavour in NAMES
        if importlib.util.find_spec(flavour) is not None
    }


def _refuse_misfit(path: Path, record: EngineRecord, here: Here) -> None:
    why = misfit(record.built, here)
    if why is not None:
        missing = record.built.flavour not in here.versions
        raise UnavailableError(
            f"{str(path)!r} does not fit this machine: {why}",
            hint=GET[record.built.flavour] if missing else "build it again on this machine",
        )
