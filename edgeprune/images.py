"""How a model wants its images: a value that every other part passes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocess:
    """Square image size in pixels, and the mean and std (RGB, of values in 0..1)."""

    img_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
