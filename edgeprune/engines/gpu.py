"""The memory and the stream that an engine runs with: CUDA through torch, or a stand-in."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgeprune.errors import UnavailableError

Array = npt.NDArray[Any]


class Gpu(Protocol):
    """A GPU as an engine needs it. A buffer is whatever this GPU makes of an array."""

    @property
    def sm(self) -> str | None:
        """Its architecture, such as ``8.6``; None if it does not tell."""
        ...

    @property
    def stream(self) -> int:
        """Handle of the stream that everything runs in."""
        ...

    def upload(self, array: Array) -> Any:
        """Return a buffer on the GPU with the numbers of ``array``."""
        ...

    def address(self, buffer: Any) -> int:
        """Return where a buffer lies."""
        ...

    def download(self, buffer: Any) -> Array:
        """Return the numbers of a buffer, after all that was started before."""
        ...

    def synchronize(self) -> None:
        """Wait until all that was started is done."""
        ...


class TorchGpu:
    """The first CUDA device, through torch."""

    def __init__(self) -> None:
        """Make a stream of its own. Raises UnavailableError where there is no CUDA device."""
        import torch

        if not torch.cuda.is_available():
            raise UnavailableError(
                "engines need an NVIDIA GPU, and torch finds no CUDA device on this machine",
                hint="edgeprune doctor says what works here",
            )
        self._stream = torch.cuda.Stream()

    @property
    def sm(self) -> str | None:
        """Its architecture."""
        import torch

        return ".".join(map(str, torch.cuda.get_device_capability()))

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        return int(self._stream.cuda_stream)

    def upload(self, array: Array) -> Any:
        """Copy to the device, and wait until it is there."""
        import torch

        buffer = torch.from_numpy(np.ascontiguousarray(array)).cuda()
        torch.cuda.synchronize()
        return buffer

    def address(self, buffer: Any) -> int:
        """Return the device pointer."""
        return int(buffer.data_ptr())

    def download(self, buffer: Any) -> Array:
        """Wait for the stream, and copy from the device."""
        self.synchronize()
        array: Array = buffer.cpu().numpy()
        return array

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()
