"""Asking an engine for logits, whatever form it wants its images in."""

from __future__ import annotations

import importlib
import importlib.util
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.engines.files import NAMES, Here, check_batch, misfit, read_record
from edgeprune.engines.gpu import Array, Gpu, TorchGpu
from edgeprune.engines.loaded import LoadedEngine
from edgeprune.environment import version_of
from edgeprune.errors import UnavailableError
from edgeprune.onnx_runner import decoded
from edgeprune.schema import EngineRecord

GET = {
    "tensorrt": "pip install 'edgeprune[nvidia]'; on a Jetson it comes with JetPack",
    "tensorrt_rtx": "pip install 'edgeprune[tensorrt]'",
}


class EngineRunner:
    """An engine that fits this machine, with buffers for one batch size at a time.

    Attributes:
        record: what is known of the engine.
    """

    def __init__(self, path: Path, record: EngineRecord, trt: Any, gpu: Gpu) -> None:
        """Load an engine.

        Raises:
            UnavailableError: if it does not fit this machine, or TensorRT does not load it.
            EngineError: if it has other inputs or outputs than its record says.
        """
        _refuse_misfit(path, record, Here({record.built.flavour: str(trt.__version__)}, gpu.sm))
        self.record = record
        told = {tensor.mode: tensor.name for tensor in record.tensors}
        self._engine = LoadedEngine(path.read_bytes(), (told["input"], told["output"]), trt, gpu)

    @property
    def batch(self) -> int | None:
        """The only batch size that it takes, or None for several."""
        profile = self.record.built.profile
        return None if profile.varies else profile.max

    @property
    def takes_pixels(self) -> bool:
        """Whether it normalises images itself."""
        return self.record.takes_pixels

    def prepare(self, images: Array) -> None:
        """Put normalised images ``(batch, 3, size, size)`` on the GPU, for :meth:`run`.

        Raises:
            UsageError: if the engine does not take this batch size.
        """
        check_batch(self.record, len(images))
        self._engine.feed(self._converted(images))

    def run(self) -> None:
        """Run the batch that was prepared, and wait for the end. Raises EngineError."""
        self._engine.run()

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
            parts.append(self._engine.result())
        found: Array = np.concatenate(parts)[: len(images)].astype(np.float32)
        return found

    def _converted(self, images: Array) -> Array:
        if self.takes_pixels:
            facts = self.record.preprocess
            return decoded(images, facts.mean, facts.std)
        return images


def open_engine(path: Path) -> EngineRunner:
    """Load an engine on this machine's GPU.

    Raises:
        EngineError: if the file is missing or not sound.
        UnavailableError: if there is no GPU or no TensorRT, or it does not fit this machine.
    """
    record = read_record(path)
    _refuse_misfit(path, record, Here(installed(), None))
    return EngineRunner(path, record, load(record.built.flavour), TorchGpu())


def load(flavour: str) -> Any:
    """Return the Python module of TensorRT. Raises UnavailableError if it does not load."""
    try:
        return importlib.import_module(flavour)
    except Exception as error:  # ImportError, OSError, and what else a broken library raises
        reason = " ".join(str(error).split())[:200]
        raise UnavailableError(f"{NAMES[flavour]} does not load: {reason}") from error


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
