from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image

from edgeprune.domains import Sample, load_images, read_image
from edgeprune.domains.transforms import CROP_RATIO, crop_box, jitter
from edgeprune.errors import DataError, UsageError
from edgeprune.images import Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLAIN = Preprocess(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def picture(path: Path, width: int, height: int, seed: int = 0) -> Sample:
    rough = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return Sample(path, seed, "a", "g")


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_evaluation_is_timms(tmp_path: Path, interpolation: str) -> None:
    # smaller, equal, a little larger, much larger, wide, tall, odd, one pixel
    sizes = [(20, 20), (32, 32), (36, 36), (200, 200), (150, 64), (37, 99), (33, 47), (1, 1)]
    samples = [picture(tmp_path / f"{i}.png", *size, seed=i) for i, size in enumerate(sizes)]
    store = load_images(samples, Preprocess(32, MEAN, STD, interpolation))
    transform = timm.data.create_transform(
        (3, 32, 32),
        is_training=False,
        interpolation=interpolation,
        mean=MEAN,
        std=STD,
        crop_pct=1.0,
    )
    expected = torch.stack([transform(read_image(sample.path)) for sample in samples])
    batch = store.eval_batch(range(len(sizes)))
    assert batch.shape == (len(sizes), 3, 32, 32)
    assert batch.dtype == torch.float32
    assert (batch - expected).abs().max() < 1e-5
    assert store.labels.tolist() == list(range(len(sizes)))
    assert len(store) == len(sizes)
    assert torch.equal(store.eval_batch([3]), batch[3:4])


def test_large_images_are_kept_small(tmp_path: Path) -> None:
    samples = [picture(tmp_path / "a.png", 400, 200), picture(tmp_path / "b.png", 40, 40)]
    store = load_images(samples, PLAIN)
    assert [pixels.shape for pixels in store._pixels] == [(32, 64, 3), (40, 40, 3)]


def test_a_strip_is_cut_before_it_fills_the_memory(tmp_path: Path) -> None:
    strip = Image.new("RGB", (4001, 1))
    strip.putpixel((2000, 0), (255, 255, 255))
    strip.save(tmp_path / "strip.png")
    store = load_images([Sample(tmp_path / "strip.png", 0, "a", "g")], PLAIN)
    assert store._pixels[0].shape == (1, 16, 3)
    assert store.eval_batch([0])[0, :, :, 16].max() > 0.5


def test_training_batch_repeats_with_the_generator(tmp_path: Path) -> None:
    sizes = [(40, 40), (1, 1), (5, 90), (64, 20)]
    samples = [picture(tmp_path / f"{i}.png", *size, seed=i) for i, size in enumerate(sizes)]
    store = load_images(samples, Preprocess(32, MEAN, STD))
    one, two = (store.train_batch([0, 1, 2, 3], np.random.default_rng(5)) for _ in range(2))
    assert one.shape == (4, 3, 32, 32)
    assert one.dtype == torch.float32
    assert one.isfinite().all()
    assert torch.equal(one, two)
    assert not torch.equal(one, store.train_batch([0, 1, 2, 3], np.random.default_rng(6)))


def test_flips_half_of_the_time(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 32, dtype=np.uint8)[None, :, None], (32, 1, 3))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    store = load_images([Sample(tmp_path / "ramp.png", 0, "a", "g")], PLAIN)
    batch = store.train_batch([0] * 200, np.random.default_rng(0))
    rising = (batch[..., -8:].mean((1, 2, 3)) > batch[..., :8].mean((1, 2, 3))).float().mean()
    assert 0.4 < rising < 0.6


def test_colours_change_and_some_views_are_grey(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (160, 100, 60)).save(tmp_path / "brown.png")
    store = load_images([Sample(tmp_path / "brown.png", 0, "a", "g")], PLAIN)
    batch = store.train_batch([0] * 300, np.random.default_rng(0))
    colours = batch.mean((2, 3))
    assert (colours.std(0) > 0.02).all()
    grey = ((colours.max(1).values - colours.min(1).values) < 1e-3).float().mean()
    assert 0.05 < grey < 0.16
    assert batch.min() >= 0
    assert batch.max() <= 1


def test_jitter_keeps_size_and_differs_by_draw() -> None:
    image = Image.new("RGB", (4, 3), (200, 50, 50))
    generator = np.random.default_rng(0)
    seen = {jitter(image, generator).getpixel((0, 0)) for _ in range(20)}
    assert len(seen) > 10
    assert jitter(image, generator).size == (4, 3)


def test_crop_boxes_lie_inside_and_have_the_asked_area() -> None:
    generator = np.random.default_rng(0)
    boxes = [crop_box(100, 80, generator) for _ in range(500)]
    areas = [(right - left) * (lower - upper) / 8000 for left, upper, right, lower in boxes]
    assert min(areas) > 0.68
    assert max(areas) <= 1.0
    assert np.std(areas) > 0.05
    assert all(0 <= left < right <= 100 and 0 <= up < low <= 80 for left, up, right, low in boxes)
    assert len({box[:2] for box in boxes}) > 100
    # A strip has no such box: its middle at the nearest ratio.
    left, upper, right, lower = crop_box(1000, 12, generator)
    assert (upper, lower, right - left) == (0, 12, round(12 * CROP_RATIO[1]))
    assert crop_box(1, 1, generator) == (0, 0, 1, 1)


def test_first_unreadable_file_is_named(tmp_path: Path) -> None:
    good = picture(tmp_path / "good.png", 8, 8)
    (tmp_path / "bad.png").write_text("text")
    with pytest.raises(DataError, match=r"bad\.png"):
        load_images([good, Sample(tmp_path / "bad.png", 0, "a", "g")], PLAIN)


def test_unknown_interpolation(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown interpolation 'cubist'"):
        load_images([], Preprocess(8, MEAN, STD, "cubist"))
