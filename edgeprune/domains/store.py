"""Decoded images of one list of samples, handed out in batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
import torch
from PIL import Image

from edgeprune.domains.cache import Pixels, decoded_images
from edgeprune.domains.dataset import Sample
from edgeprune.domains.images import read_image
from edgeprune.domains.transforms import (
    cut_strip,
    evaluation_view,
    filter_of,
    fit,
    skip_view,
    training_view,
)
from edgeprune.images import Preprocess
from edgeprune.progress import SILENT, Progress

# Images up to this many times the model's size are kept as they are.
KEEP_UP_TO = 1.25
# To be raised with every change of the pixels that decoding gives: cached ones are made anew.
DECODING = "1"


class ImageStore:
    """Decoded images, 8 bits a channel, and their labels.

    ``labels`` is int64 of shape ``(n,)``. An image whose shorter side exceeds 1.25 times the
    model's image size is kept at that size; smaller ones as they are.
    """

    def __init__(
        self, pixels: Sequence[Pixels], labels: torch.Tensor, preprocess: Preprocess
    ) -> None:
        self.labels = labels
        self.preprocess = preprocess
        self._pixels = pixels
        self._filter = filter_of(preprocess.interpolation)
        self._mean = torch.tensor(preprocess.mean).view(1, 3, 1, 1)
        self._std = torch.tensor(preprocess.std).view(1, 3, 1, 1)

    def __len__(self) -> int:
        return len(self._pixels)

    def eval_batch(self, indices: Iterable[int]) -> torch.Tensor:
        """Return images as timm evaluates them, normalised: float32 ``(batch, 3, size, size)``."""
        size = self.preprocess.img_size
        return self._stack([evaluation_view(self._image(i), size, self._filter) for i in indices])

    def train_batch(
        self,
        indices: Sequence[int] | npt.NDArray[np.int64],
        generator: np.random.Generator,
        share: slice = slice(None),
    ) -> torch.Tensor:
        """Return augmented images, normalised: float32 ``(batch, 3, size, size)``.

        The same generator state gives the same batch, and ``share`` of it the same images.
        """
        size = self.preprocess.img_size
        taken = range(len(indices))[share]
        views = []
        for slot, index in enumerate(indices):
            if slot in taken:
                views.append(training_view(self._image(index), size, self._filter, generator))
            else:
                skip_view(generator)
        return self._stack(views)

    def _image(self, index: int) -> Image.Image:
        return Image.fromarray(self._pixels[int(index)])

    def _stack(self, views: Sequence[Image.Image]) -> torch.Tensor:
        stacked = torch.from_numpy(np.stack([np.asarray(view) for view in views]))
        batch = stacked.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        return batch.div_(255).sub_(self._mean).div_(self._std)


def load_images(
    samples: Sequence[Sample], preprocess: Preprocess, *, progress: Progress = SILENT
) -> ImageStore:
    """Decode every image once, or map what an earlier command decoded.

    Raises:
        DataError: naming the first image that cannot be read.
    """
    size = preprocess.img_size
    resampling = filter_of(preprocess.interpolation)

    def decode(path: Path) -> Pixels:
        image = cut_strip(read_image(path))
        if min(image.size) > KEEP_UP_TO * size:
            image = fit(image, size, resampling)
        return np.array(image)

    recipe = {
        "decoding": DECODING,
        "pillow": PIL.__version__,
        "img_size": str(size),
        "interpolation": preprocess.interpolation,
    }
    pixels = decoded_images(samples, decode, recipe, progress)
    labels = torch.tensor([sample.label for sample in samples], dtype=torch.int64)
    return ImageStore(pixels, labels, preprocess)
