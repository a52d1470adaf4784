"""Reading one image file, and saying what is wrong with it where that cannot be done."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from edgeprune.errors import DataError

# Named, so that a file cannot reach a decoder that starts other programs (EPS).
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SIXTEEN_BITS = 65535


class ImageError(DataError):
    """An image cannot be read; ``reason`` says why without the path."""

    def __init__(self, path: Path, reason: str, *, animated: bool = False) -> None:
        super().__init__(f"image {str(path)!r} cannot be read: {reason}")
        self.reason = reason
        self.animated = animated


@dataclass(frozen=True)
class Decoded:
    """An image as 8-bit RGB, and the mode (Pillow's name) that the file has."""

    image: Image.Image
    mode: str


def read_image(path: Path) -> Image.Image:
    """Read a still image as 8-bit RGB.

    Transparent images are laid over white, 16-bit grey is scaled to 8 bits, CMYK is converted,
    and the EXIF orientation is applied.

    Raises:
        DataError: naming the file, if it is missing, damaged, animated, no image, or larger
            than Pillow's limit against decompression bombs.
    """
    return decode(path).image


def decode(path: Path) -> Decoded:
    """Read a still image as :func:`read_image` does, and tell its mode."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                _check_still(image, path)
                image.load()
                return Decoded(_to_rgb(ImageOps.exif_transpose(image), path), image.mode)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(path, "the file does not exist") from None
    except UnidentifiedImageError:
        raise ImageError(path, _unidentified(path)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise ImageError(path, f"it has more than {limit} million pixels") from None
    # Decoders raise almost anything on a damaged file; all of it means the same here.
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(path, f"it is damaged ({text})") from error


def _check_still(image: Image.Image, path: Path) -> None:
    frames = getattr(image, "n_frames", 1)
    # MPO: a photograph with a preview behind it, as telephones write it.
    if frames > 1 and image.format != "MPO":
        raise ImageError(path, f"it has {frames} frames; a still image was expected", animated=True)


def _unidentified(path: Path) -> str:
    if path.stat().st_size == 0:
        return "the file is empty"
    return f"it is not an image of an accepted format ({', '.join(FORMATS)})"


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode.startswith("I"):
        image = _sixteen_to_eight(image, path)
    if image.mode == "F":
        raise ImageError(path, "its pixels are floating-point numbers of unknown range")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _sixteen_to_eight(image: Image.Image, path: Path) -> Image.Image:
    """Scale 0..65535 to 0..255; Pillow's own conversion would clip at 255."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > SIXTEEN_BITS:
        raise ImageError(path, "its pixels have more than 16 bits")
    return Image.fromarray(((values * 255 + SIXTEEN_BITS // 2) // SIXTEEN_BITS).astype(np.uint8))
