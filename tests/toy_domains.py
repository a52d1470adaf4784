"""A small data set on disk learnt in seconds: which half is light, in three palettes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 32
MODEL = "vit_tiny_patch16_224"
CLASSES = ("bottom", "plain", "top")
PALETTES = {"day": (250, 90), "dusk": (200, 30), "night": (150, 10)}


def write_toy_domains(root: Path, per_class: int = 10) -> Path:
    """Write ROOT/DOMAIN/CLASS/IMAGE; every image differs, by where its halves meet and by noise."""
    generator = np.random.default_rng(0)
    for domain, (light, dark) in PALETTES.items():
        for label in CLASSES:
            folder = root / domain / label
            folder.mkdir(parents=True)
            for index in range(per_class):
                pixels = _pattern(label, light, dark, int(generator.integers(-2, 3)))
                pixels = pixels + generator.integers(0, 6, pixels.shape)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return root


def _pattern(label: str, light: int, dark: int, shift: int) -> np.ndarray:
    edge = SIZE // 2 + shift
    plane = np.full((SIZE, SIZE, 3), (light + dark) // 2)
    if label != "plain":
        plane[:edge] = light if label == "top" else dark
        plane[edge:] = dark if label == "top" else light
    return plane
