from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeprune.domains.images import ImageError, read_image
from edgeprune.errors import DataError


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_transparent_pixels_lie_over_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    pixels = np.asarray(read_image(save(image, tmp_path / "a.png")))
    assert pixels.tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_transparent_palette_entry_lies_over_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    path = save(image, tmp_path / "a.png", transparency=1)
    assert np.asarray(read_image(path)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    path = save(Image.fromarray(values), tmp_path / name)
    grey = np.asarray(read_image(path))[0, :, 0]
    assert grey.tolist() == [0, 1, 128, 255]


def test_cmyk_is_converted(tmp_path: Path) -> None:
    # No ink is white, all of cyan leaves green and blue.
    for ink, expected in (((0, 0, 0, 0), (255, 255, 255)), ((255, 0, 0, 0), (0, 255, 255))):
        path = save(Image.new("CMYK", (8, 8), ink), tmp_path / "a.jpg", quality=100)
        found = read_image(path)
        assert found.mode == "RGB"
        assert np.abs(np.asarray(found).astype(int) - expected).max() <= 3


def test_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 10))
    image.paste((255, 255, 255), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    turned = np.asarray(read_image(save(image, tmp_path / "a.jpg", exif=exif)))
    assert turned.shape == (20, 10, 3)
    assert turned[:8].min() > 200
    assert turned[12:].max() < 50


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_one_pixel_of_any_mode(tmp_path: Path, mode: str) -> None:
    assert read_image(save(Image.new(mode, (1, 1)), tmp_path / "a.png")).size == (1, 1)


def truncated(path: Path) -> None:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "png")
    path.write_bytes(stream.getvalue()[:5000])


def text(path: Path) -> None:
    path.write_text("not an image at all")


def empty(path: Path) -> None:
    path.touch()


def animated(path: Path) -> None:
    frames = [Image.new("L", (4, 4), value) for value in (0, 255)]
    frames[0].save(path, "gif", save_all=True, append_images=frames[1:])


def animated_png(path: Path) -> None:
    frames = [Image.new("L", (4, 4), value) for value in (0, 255)]
    frames[0].save(path, "png", save_all=True, append_images=frames[1:])


def floating(path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), np.float32)).save(path, "tiff")


def postscript(path: Path) -> None:
    Image.new("RGB", (4, 4)).save(path, "eps")


def absent(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (truncated, "damaged"),
        (text, "not an image"),
        (empty, "the file is empty"),
        (animated, "2 frames"),
        (animated_png, "2 frames"),
        (floating, "floating-point"),
        (postscript, "not an image of an accepted format"),
        (absent, "does not exist"),
    ],
)
def test_unusable_file_is_named_with_the_reason(tmp_path: Path, make, reason: str) -> None:
    path = tmp_path / "bad.png"
    make(path)
    with pytest.raises(DataError, match=reason) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


def test_still_gif_is_read(tmp_path: Path) -> None:
    image = Image.new("RGB", (3, 2), (1, 2, 3))
    assert read_image(save(image, tmp_path / "a.gif")).getpixel((0, 0)) == (1, 2, 3)


def test_telephone_photo_with_preview_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ("white", "black")]
    path = tmp_path / "a.jpg"
    frames[0].save(path, "mpo", save_all=True, append_images=frames[1:])
    assert Image.open(path).n_frames == 2
    assert min(read_image(path).getpixel((5, 5))) > 250


@pytest.mark.parametrize("limit", [60, 30])  # past the limit, and past twice the limit
def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    path = save(Image.new("L", (10, 10)), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ImageError, match="million pixels"):
        read_image(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(
    kind=st.sampled_from(["png", "jpeg", "gif", "tiff", "bmp", "webp", "ppm"]),
    where=st.floats(0, 1),
    byte=st.integers(0, 255),
    keep=st.floats(0.1, 1),
)
def test_damage_is_a_data_error_or_still_an_image(
    tmp_path_factory: pytest.TempPathFactory, kind: str, where: float, byte: int, keep: float
) -> None:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((24, 24)).convert("RGB").save(stream, kind)
    data = bytearray(stream.getvalue())
    data[int(where * (len(data) - 1))] = byte
    path = tmp_path_factory.mktemp("fuzz") / "a.png"
    path.write_bytes(data[: int(keep * len(data))])
    try:
        image = read_image(path)
    except DataError:
        return
    assert image.mode == "RGB"
