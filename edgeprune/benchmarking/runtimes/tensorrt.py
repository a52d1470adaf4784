"""TensorRT engines that edgeprune built. Runs in the measuring process.

Never run on a GPU by this project: tests drive it with stand-ins of TensorRT and of the GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.benchmarking import memory
from edgeprune.benchmarking.runtimes.base import Job, Loaded, room_for_images
from edgeprune.errors import EngineError, ModelError, UsageError

if TYPE_CHECKING:
    from edgeprune.engines.runner import EngineRunner
    from edgeprune.schema import EngineRecord

FORMAT = "engine"
PACKAGES = ("tensorrt", "tensorrt-rtx-cu13", "torch", "numpy")


class EngineSession:
    """An engine with one batch of random images on the GPU."""

    def __init__(self, runner: EngineRunner, job: Job) -> None:
        """Put the images of ``job`` in place, and run once.

        Raises:
            UsageError: if the engine does not take its batch size, or memory its images.
            ModelError: if it fails.
        """
        import numpy as np

        self._runner = runner
        self.loaded = loaded_of(runner.record)
        size = self.loaded.img_size
        generator = np.random.default_rng(job.seed)
        with room_for_images(job, size):
            images = generator.standard_normal((job.batch, 3, size, size), dtype=np.float32)
        try:
            runner.prepare(images)
            runner.run()
        except EngineError as error:
            raise ModelError(f"{job.name!r} fails with batch {job.batch}: {error}") from error

    def run(self) -> None:
        """Run one batch, and wait for the GPU."""
        self._runner.run()

    def device_peak_bytes(self) -> int | None:
        """Return what this process holds on the GPU, which an engine allocates as it is loaded."""
        return memory.device_bytes()


def loaded_of(record: EngineRecord) -> Loaded:
    """Return what the record beside an engine says of its model."""
    return Loaded(
        img_size=record.preprocess.img_size,
        precision=record.precision,
        macs=record.macs,
        params=record.params,
        fingerprint=record.fingerprint,
        preprocess={**record.preprocess.model_dump(), "pixels": record.takes_pixels},
    )


def load(job: Job) -> EngineSession:
    """Load an engine and run it once.

    Raises:
        EngineError: if the file is missing or not sound.
        ModelError: if it fails.
        UnavailableError: if there is no GPU or no TensorRT here, or the engine does not fit.
        UsageError: if the device is no GPU, or the engine does not take the batch size.
    """
    if job.device != "cuda":
        raise UsageError(f"an engine runs on a GPU; --device {job.device} was asked for")
    from edgeprune.engines.runner import open_engine

    return EngineSession(open_engine(Path(job.source)), job)
