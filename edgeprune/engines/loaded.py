"""An engine in TensorRT's runtime, by the documented API of 8.5 and newer.

Never run on a GPU by this project: tests drive it with stand-ins of TensorRT and of the GPU.

References:
    NVIDIA TensorRT Python API: IRuntime, ICudaEngine, IExecutionContext.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeprune.engines import api
from edgeprune.engines.gpu import Array, Gpu
from edgeprune.errors import EngineError, UnavailableError


class LoadedEngine:
    """An engine of one input and one output, with buffers for one shape at a time."""

    def __init__(self, data: bytes, names: tuple[str, str], trt: Any, gpu: Gpu) -> None:
        """Load an engine whose input and output have these names.

        Raises:
            EngineError: if it has others.
            UnavailableError: if TensorRT does not load it.
        """
        self._gpu = gpu
        self._log = api.logger(trt)
        # The runtime has to live as long as its engine.
        self._runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise UnavailableError(f"TensorRT does not load the engine: {self._reason()}")
        found = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        if sorted(found) != sorted(names):
            raise EngineError(
                f"the engine has the inputs and outputs {', '.join(found)};"
                f" {', '.join(names)} were expected"
            )
        self._input, self._output = names
        self._types = {name: api.numpy_type(self._engine.get_tensor_dtype(name)) for name in names}
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise UnavailableError(f"the engine finds no room on the GPU: {self._reason()}")
        self._result: Any = None
        self._held: list[Any] = []

    def feed(self, array: Array) -> None:
        """Put an input on the GPU, in the type that the engine takes. Raises EngineError."""
        if not self._context.set_input_shape(self._input, array.shape):
            raise EngineError(f"the engine does not take an input of shape {array.shape}")
        shape = tuple(self._context.get_tensor_shape(self._output))
        given = self._gpu.upload(array.astype(self._types[self._input], copy=False))
        self._result = self._gpu.upload(np.zeros(shape, self._types[self._output]))
        self._held = [given, self._result]
        for name, buffer in zip((self._input, self._output), self._held, strict=True):
            if not self._context.set_tensor_address(name, self._gpu.address(buffer)):
                raise EngineError(f"TensorRT does not take the buffer of {name!r}")

    def run(self) -> None:
        """Run on what was fed, and wait for the end. Raises EngineError."""
        if not self._context.execute_async_v3(self._gpu.stream):
            raise EngineError(f"the engine failed to run: {self._reason()}")
        self._gpu.synchronize()

    def result(self) -> Array:
        """Return the output of the last run."""
        return self._gpu.download(self._result)

    def _reason(self) -> str:
        return (api.errors(self._log) or ["TensorRT gives no reason"])[0][:300]
