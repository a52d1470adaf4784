"""ONNX Runtime on the CPU behind one call, whatever an exported file takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgeprune.images import Preprocess

Array = npt.NDArray[Any]


class Runner(Protocol):
    """An open file that can be asked for logits."""

    @property
    def batch(self) -> int | None:
        """The only batch size that it takes, or None for any."""
        ...

    @property
    def takes_pixels(self) -> bool:
        """Whether the file normalises images itself."""
        ...

    def logits(self, images: Array) -> Array:
        """Return fp32 logits ``(n, classes)`` of images ``(n, 3, size, size)``."""
        ...


class OnnxRunner:
    """An open file that takes normalised images, converted to what its input wants.

    Attributes:
        session: the ONNX Runtime session.
        metadata: what the file says of itself.
        batch: the only batch size that it takes, or None for any.
    """

    def __init__(self, path: Path, *, prepack: bool = True) -> None:
        """Open a file, with a second copy of its weights in the order of the CPU or without.

        Raises what ONNX Runtime raises.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if not prepack:
            options.add_session_config_entry("session.disable_prepacking", "1")
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        self._input = self.session.get_inputs()[0]
        batch = self._input.shape[0]
        self.batch = batch if isinstance(batch, int) else None

    @property
    def takes_pixels(self) -> bool:
        """Whether the file normalises images itself."""
        return bool(self._input.type == "tensor(uint8)")

    def logits(self, images: Array) -> Array:
        """Return fp32 logits ``(n, classes)`` of images ``(n, 3, size, size)``."""
        parts = [outputs[0] for outputs in self.outputs(images)]
        return np.concatenate(parts)[: len(images)].astype(np.float32)

    def outputs(self, images: Array, names: Sequence[str] | None = None) -> Iterator[list[Array]]:
        """Yield the named outputs, of all images or of a fixed batch at a time.

        The last batch is filled up with images from the beginning.
        """
        size = self.batch or len(images)
        filled = np.concatenate([images, images[np.arange(-len(images) % size) % len(images)]])
        for start in range(0, len(filled), size):
            fed = {self._input.name: self._converted(filled[start : start + size])}
            yield self.session.run(names, fed)

    def _converted(self, images: Array) -> Array:
        if self.takes_pixels:
            facts = json.loads(self.metadata["edgeprune.preprocess"])
            return decoded(images, facts["mean"], facts["std"])
        return images.astype(np.float16) if self._input.type == "tensor(float16)" else images


def decoded(images: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """Return normalised images ``(n, 3, size, size)`` as pixels ``(n, size, size, 3)``."""
    pixels: Array = pixels_of(images, mean, std).transpose(0, 2, 3, 1)
    return pixels


def pixels_of(images: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """Undo normalisation: float ``(n, 3, size, size)`` to the nearest 8-bit numbers."""
    scale, shift = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (std, mean))
    numbers: Array = np.rint((images * scale + shift) * 255).clip(0, 255).astype(np.uint8)
    return numbers


def as_pixels(images: Array, preprocess: Preprocess) -> Array:
    """Return the normalised images that 8-bit numbers can stand for, nearest to ``images``."""
    scale, shift = (
        np.array(values, np.float32).reshape(1, 3, 1, 1)
        for values in (preprocess.std, preprocess.mean)
    )
    pixels = pixels_of(images, preprocess.mean, preprocess.std).astype(np.float32)
    nearest: Array = (pixels / 255 - shift) / scale
    return nearest
