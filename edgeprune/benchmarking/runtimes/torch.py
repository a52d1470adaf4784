"""PyTorch, eager mode. Runs in the measuring process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeprune.benchmarking.runtimes.base import Job, Loaded, room_for_images
from edgeprune.errors import ModelError, UnavailableError

FORMAT = "model"
PACKAGES = ("torch", "timm", "numpy")


class TorchSession:
    """A module with one batch of random images on its device."""

    def __init__(self, module: Any, images: Any, loaded: Loaded) -> None:
        self.module = module
        self._images = images
        self.loaded = loaded

    def run(self) -> None:
        """Run one batch, and wait for the device."""
        import torch

        with torch.inference_mode():
            self.module(self._images)
        if self._images.is_cuda:
            torch.cuda.synchronize()

    def transfers(self) -> tuple[Callable[[], object], Callable[[], object]] | None:
        """Return what copies the images to the device, and the outputs back; None on the CPU."""
        if not self._images.is_cuda:
            return None
        import torch

        images = self._images.cpu()
        with torch.inference_mode():
            outputs = self.module(self._images)

        def to_device() -> None:
            images.to(self._images.device)
            torch.cuda.synchronize()

        return to_device, outputs.cpu

    def device_peak_bytes(self) -> int | None:
        """Return the most memory that torch has held on the device; None on the CPU."""
        import torch

        return torch.cuda.max_memory_allocated() if self._images.is_cuda else None


def load(job: Job) -> TorchSession:
    """Load an artifact or make a dense timm model, and run it once in eager mode.

    Raises:
        ArtifactError: if the artifact is not sound.
        ModelError: if there is no such model, or it fails with this batch size.
        UnavailableError: if torch cannot use the device.
        UsageError: if there is no memory for a batch of images.
    """
    session = prepare(job)
    try:
        session.run()
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise ModelError(f"{job.name!r} fails in torch with batch {job.batch}: {first}") from error
    return session


def prepare(job: Job) -> TorchSession:
    """Load the model of a job, without running it. Raises as :func:`load`."""
    import numpy as np
    import torch

    torch.set_num_threads(job.threads)
    torch.set_num_interop_threads(1)
    if job.device == "cuda" and not torch.cuda.is_available():
        raise UnavailableError("torch finds no CUDA device on this machine")

    from edgeprune.loading import load_model

    model = load_model(job.source, _dense_options(job.dense))
    size = model.record.img_size
    generator = np.random.default_rng(job.seed)
    with room_for_images(job, size, torch.cuda.OutOfMemoryError):
        images = torch.from_numpy(
            generator.standard_normal((job.batch, 3, size, size), dtype=np.float32)
        ).to(job.device)
    module = model.module.eval().to(job.device)
    tensors = [*module.parameters(), *module.buffers()]
    loaded = Loaded(
        img_size=size,
        precision="fp32",
        macs=model.record.pruned.macs,
        params=model.record.pruned.params,
        weights_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        fingerprint=model.record.weights_sha256 or None,
        preprocess=dataclasses.asdict(model.preprocess),
    )
    return TorchSession(module, images, loaded)


def _dense_options(fields: dict[str, Any] | None) -> Any:
    from edgeprune.model import DenseOptions

    if fields is None:
        return None
    weights = fields.get("weights")
    return DenseOptions(**{**fields, "weights": Path(weights) if weights else None})
