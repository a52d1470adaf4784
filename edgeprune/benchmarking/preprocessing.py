"""What becomes of an image before the model sees it: decoding, resizing, normalising, timed apart.

On one thread of the CPU, as edgeprune itself does it for its models (Pillow and numpy).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.domains.dataset import SUFFIXES
from edgeprune.domains.images import read_image
from edgeprune.domains.transforms import cut_strip, evaluation_view, filter_of
from edgeprune.errors import DataError
from edgeprune.schema import PreprocessingTimes

# Evenly spaced over those that there are.
MAX_IMAGES = 200
NS_PER_MS = 1e6


def find_images(folder: Path) -> list[Path]:
    """Return images of a folder and those below it, at most 200, evenly spaced.

    Raises:
        DataError: if it is no folder or holds no image, or naming one that cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} is no folder of images")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f"{str(folder)!r} holds no image")
    step = max(1, -(-len(found) // MAX_IMAGES))
    chosen = found[::step]
    for path in chosen:  # one that is damaged must not end a measurement that is done
        read_image(path)
    return chosen


def measure(
    images: Sequence[Path],
    preprocess: dict[str, Any],
    clock: Callable[[], int] = time.perf_counter_ns,
) -> PreprocessingTimes:
    """Time the steps of each image after reading it once, so that no disk is measured.

    Args:
        images: files.
        preprocess: as in :class:`edgeprune.benchmarking.runtimes.base.Loaded`.
        clock: nanoseconds.

    Raises:
        DataError: naming an image that cannot be read.
    """
    size, resampling = int(preprocess["img_size"]), filter_of(preprocess["interpolation"])
    mean, std = (np.asarray(preprocess[key], np.float32) for key in ("mean", "std"))
    times = []
    for path in images:
        read_image(path)
        start = clock()
        image = read_image(path)
        decoded = clock()
        view = evaluation_view(cut_strip(image), size, resampling)
        resized = clock()
        if not preprocess.get("pixels"):
            normalise(view, mean, std)
        times.append((start, decoded, resized, clock()))
    steps = np.diff(np.asarray(times, np.int64), axis=1) / NS_PER_MS
    decode, resize, done = (float(value) for value in np.median(steps, axis=0))
    return PreprocessingTimes(
        decode=decode,
        resize=resize,
        normalise=0.0 if preprocess.get("pixels") else done,
        total=float(np.median(steps.sum(axis=1))),
        images=len(images),
    )


def normalise(image: Any, mean: np.ndarray[Any, Any], std: np.ndarray[Any, Any]) -> Any:
    """Return float32 ``(3, size, size)`` of an 8-bit RGB image."""
    values = (np.asarray(image, np.float32) / 255 - mean) / std
    return np.ascontiguousarray(values.transpose(2, 0, 1))
