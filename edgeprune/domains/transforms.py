"""From a decoded image to what the network sees, for training and for evaluation.

Evaluation is timm's with ``crop_pct`` 1.0; training is DomainBed's: random resized crop,
horizontal flip, colour jitter, grayscale (Gulrajani and Lopez-Paz, 2021).
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image
from torchvision.transforms import functional

from edgeprune.errors import one_of

CROP_SCALE = (0.7, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
CROP_ATTEMPTS = 10
JITTER = 0.3
LONGEST_RATIO = 16
GRAYSCALE_SHARE = 0.1
_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}

Box = tuple[float, float, float, float]


def filter_of(interpolation: str) -> Image.Resampling:
    """Return Pillow's filter of that name. Raises UsageError."""
    return _FILTERS[one_of(interpolation, "interpolation", _FILTERS)]


def cut_strip(image: Image.Image) -> Image.Image:
    """Keep the middle of an image that is more than 16 times as long as wide.

    No view shows more of it, and resized as a whole it could fill the memory.
    """
    longest = LONGEST_RATIO * min(image.size)
    width, height = min(image.width, longest), min(image.height, longest)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def fit(image: Image.Image, size: int, resampling: Image.Resampling) -> Image.Image:
    """Resize so that the shorter side has ``size`` pixels."""
    width, height = image.size
    short, long = size, int(size * max(width, height) / min(width, height))
    return image.resize((short, long) if width <= height else (long, short), resampling)


def evaluation_view(image: Image.Image, size: int, resampling: Image.Resampling) -> Image.Image:
    """Resize the shorter side to ``size`` and cut the middle."""
    image = fit(image, size, resampling)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def training_view(
    image: Image.Image, size: int, resampling: Image.Resampling, generator: np.random.Generator
) -> Image.Image:
    """Draw one augmented view of ``size`` x ``size`` pixels."""
    view = image.resize((size, size), resampling, box=crop_box(*image.size, generator))
    if generator.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    view = jitter(view, generator)
    if generator.random() < GRAYSCALE_SHARE:
        view = view.convert("L").convert("RGB")
    return view


def skip_view(generator: np.random.Generator) -> None:
    """Draw what :func:`training_view` draws, for an image that another process takes."""
    blank = Image.new("RGB", (1, 1))
    training_view(blank, 1, Image.Resampling.NEAREST, generator)


def jitter(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Change brightness, contrast and saturation by up to 30 %, and the hue, in random order."""
    brightness, contrast, saturation = generator.uniform(1 - JITTER, 1 + JITTER, 3)
    hue = generator.uniform(-JITTER, JITTER)
    steps = (
        (functional.adjust_brightness, brightness),
        (functional.adjust_contrast, contrast),
        (functional.adjust_saturation, saturation),
        (functional.adjust_hue, hue),
    )
    for index in generator.permutation(len(steps)):
        adjust, amount = steps[index]
        image = adjust(image, float(amount))
    return image


def crop_box(width: int, height: int, generator: np.random.Generator) -> Box:
    """Draw a box of 70 to 100 % of the area and an aspect ratio of 3:4 to 4:3.

    Where ten attempts do not fit, the box is the middle at the nearest accepted ratio, as in
    torchvision.
    """
    areas = width * height * generator.uniform(*CROP_SCALE, CROP_ATTEMPTS)
    low, high = (math.log(ratio) for ratio in CROP_RATIO)
    ratios = np.exp(generator.uniform(low, high, CROP_ATTEMPTS))
    across, down = generator.random(2)
    for area, ratio in zip(areas, ratios, strict=True):
        box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            left = int(across * (width - box_width + 1))
            top = int(down * (height - box_height + 1))
            return (left, top, left + box_width, top + box_height)
    return _middle(width, height)


def _middle(width: int, height: int) -> Box:
    ratio = min(max(width / height, CROP_RATIO[0]), CROP_RATIO[1])
    box_width = max(1, min(width, round(height * ratio)))
    box_height = max(1, min(height, round(width / ratio)))
    left, top = (width - box_width) // 2, (height - box_height) // 2
    return (left, top, left + box_width, top + box_height)
