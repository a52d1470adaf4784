from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image
from recorded_progress import Recorded

from edgeprune.domains import Sample, cache, load_images, store
from edgeprune.domains.cache import INDEX, PIXELS, user_cache
from edgeprune.errors import DataError, UsageError
from edgeprune.images import Preprocess

PREPROCESS = Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# large, kept, one pixel, a strip; colours, grey, with transparency
SHAPES = ((90, 60, 3), (38, 33, 3), (1, 1, 3), (3, 99, 3), (50, 40), (20, 20, 4))


class Said(Recorded):
    """Progress that remembers what it was told, and how many images were decoded."""

    def __init__(self) -> None:
        super().__init__()
        self.decoded = 0

    def track(self, items, description, total, start=0) -> Iterator:
        for item in items:
            yield item
            self.decoded += 1


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    generator = np.random.default_rng(0)
    found = []
    for number, domain in enumerate("abab"):
        for index, shape in enumerate(SHAPES):
            path = tmp_path / "data" / domain / f"{number}-{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(path)
            found.append(Sample(path, index, domain, path.stem))
    return found


def pixels(samples: list[Sample], said: Said | None = None, preprocess=PREPROCESS) -> list:
    return load_images(samples, preprocess, progress=said or Said())._pixels


def decoded(samples: list[Sample], preprocess: Preprocess = PREPROCESS) -> int:
    """How many images a request has to decode."""
    said = Said()
    pixels(samples, said, preprocess)
    assert said.lines == []
    return said.decoded


def uncached(samples: list[Sample], preprocess: Preprocess = PREPROCESS) -> list:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRUNE_CACHE", "off")
        return pixels(samples, preprocess=preprocess)


def same(one: list, other: list) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def entries(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.rglob(INDEX))


def test_cached_pixels_are_those_of_decoding(root: Path, samples: list[Sample]) -> None:
    expected = uncached(samples)
    assert not root.exists()
    said = Said()
    assert same(pixels(samples, said), expected)
    assert (said.decoded, said.lines) == (len(samples), [])
    again = pixels(samples[::-1], Said())
    assert same(again, expected[::-1])
    assert not again[0].flags.writeable
    assert decoded(samples) == 0


def test_batches_are_the_same_with_and_without(root: Path, samples: list[Sample]) -> None:
    stores = [load_images(samples, PREPROCESS) for _ in range(2)]
    indices = [0, 5, 5, 11, 2]
    one, two = (s.train_batch(indices, np.random.default_rng(3)) for s in stores)
    assert np.array_equal(one, two)
    assert np.array_equal(*(s.eval_batch(indices) for s in stores))
    assert stores[0].labels.tolist() == [sample.label for sample in samples]


def test_parts_of_a_data_set_share_what_was_decoded(root: Path, samples: list[Sample]) -> None:
    assert decoded(samples[4:9]) == 5
    assert decoded(samples) == len(samples) - 5
    assert decoded(samples[::3]) == 0
    assert decoded([*samples[:3], *samples[:3]]) == 0
    assert same(pixels(samples[2:20]), uncached(samples[2:20]))
    # One entry per request and domain, none of them twice.
    assert len(entries(root)) == 4
    assert sum(len(json.loads((e / INDEX).read_text())["images"]) for e in entries(root)) == 24


@pytest.mark.parametrize("block", [1, 10_000])
def test_many_images_become_several_entries(
    root: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(cache, "BLOCK_BYTES", block)
    assert same(pixels(samples), uncached(samples))
    assert len(entries(root)) == (24 if block == 1 else 6)
    assert decoded(samples) == 0


def test_what_decides_the_pixels_is_told_apart(
    root: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels(samples)
    for other in (Preprocess(31, *[(0.5,) * 3] * 2), Preprocess(32, *[(0.5,) * 3] * 2, "bilinear")):
        assert same(pixels(samples, preprocess=other), uncached(samples, other))
        assert decoded(samples, other) == 0
    assert decoded(samples, Preprocess(32, (0.1, 0.2, 0.3), (1, 1, 1))) == 0  # applied later
    monkeypatch.setattr("PIL.__version__", "0.0.1")
    assert decoded(samples) == len(samples)
    monkeypatch.setattr(store, "DECODING", "0")
    assert decoded(samples) == len(samples)
    monkeypatch.undo()


@pytest.mark.parametrize("change", ["size", "time", "link"])
def test_a_changed_file_is_decoded_anew(root: Path, samples: list[Sample], change: str) -> None:
    first = samples[0].path
    if change == "link":
        first.rename(first.with_name("old.png"))
        first.symlink_to("old.png")
    pixels(samples)
    status = first.stat()
    if change == "link":
        first.unlink()
        first.symlink_to(samples[1].path)
    else:
        Image.new("RGB", (40, 40), (1, 2, 3)).save(first)
    if change == "size":
        os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert same(pixels(samples[:1]), uncached(samples[:1]))
    if change == "time":
        os.utime(first, ns=(1, 1))
        assert decoded(samples) == 1


def damage_index(entry: Path, **change: object) -> None:
    document = json.loads((entry / INDEX).read_text())
    (entry / INDEX).write_text(json.dumps({**document, **change}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / PIXELS).write_bytes((entry / PIXELS).read_bytes()[:-1]),
        lambda entry: (entry / PIXELS).write_bytes((entry / PIXELS).read_bytes() + b"x"),
        lambda entry: (entry / PIXELS).write_bytes(b""),
        lambda entry: (entry / PIXELS).unlink(),
        lambda entry: (entry / INDEX).unlink(),
        lambda entry: (entry / INDEX).write_text((entry / INDEX).read_text()[:-9]),
        lambda entry: (entry / INDEX).write_bytes(b"\xff\xfe"),
        lambda entry: damage_index(entry, schema="edgeprune/image-cache@2"),
        lambda entry: damage_index(entry, images=[]),
        lambda entry: damage_index(entry, images=[{"path": "x"}]),
        lambda entry: damage_index(entry, recipe={}),
    ],
)
def test_a_damaged_entry_is_made_anew(root: Path, samples: list[Sample], damage) -> None:
    own = samples[:6]
    pixels(own)
    (entry,) = entries(root)
    damage(entry)
    said = Said()
    assert same(pixels(own, said), uncached(own))
    assert (said.decoded, said.lines) == (6, [])
    assert decoded(own) == 0


def test_what_a_killed_process_left_is_passed_over(root: Path, samples: list[Sample]) -> None:
    own = samples[:6]
    pixels(own)
    (entry,) = entries(root)
    left = entry.with_name(f".{entry.name}.abc")
    shutil.copytree(entry, left)
    (left / INDEX).unlink()
    assert decoded(own) == 0
    assert left.exists()  # it may be another process that is still writing


def fill(samples: list[Sample], start) -> None:
    start.wait()
    for _ in range(3):
        assert same(pixels(samples), uncached(samples))


def test_processes_that_start_together(root: Path, samples: list[Sample]) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Event()
    workers = [context.Process(target=fill, args=(samples, start)) for _ in range(4)]
    for worker in workers:
        worker.start()
    start.set()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert len(entries(root)) == 2
    assert [path for path in root.rglob(".*") if path.is_dir()] == []
    assert decoded(samples) == 0


def test_the_other_process_was_faster(
    root: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = samples[:6]
    write = cache.ImageCache._write

    def late(self, folder, domain, images) -> None:
        monkeypatch.setattr(cache.ImageCache, "_write", write)
        pixels(own)
        write(self, folder, domain, images)

    monkeypatch.setattr(cache.ImageCache, "_write", late)
    said = Said()
    assert same(pixels(own, said), uncached(own))
    assert said.lines == []
    assert len(entries(root)) == 1


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_does_not_stop(
    root: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", no_space)
    said = Said()
    assert same(pixels(samples, said), uncached(samples))
    (line,) = said.lines
    assert line.startswith("note: decoded images are kept in memory only: no space left")
    assert "EDGEPRUNE_CACHE moves" in line
    assert [path for path in root.rglob("*") if path.is_file()] == []
    monkeypatch.undo()


def test_a_nearly_full_disk_is_left_alone(
    root: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=cache.RESERVE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    said = Said()
    assert same(pixels(samples, said), uncached(samples))
    assert "nearly full" in said.lines[0]
    assert entries(root) == []


def test_a_place_that_cannot_be_written_does_not_stop(
    root: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    root.write_text("a file")
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(root / "below"))
    said = Said()
    assert same(pixels(samples, said), uncached(samples))
    assert len(said.lines) == 1
    assert said.decoded == len(samples)


def test_the_oldest_entries_make_room(
    root: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "RESERVE_BYTES", 0)
    parts = [samples[0:6], samples[6:12], samples[12:18]]
    for age, part in enumerate(parts[:2]):
        pixels(part)
        newest = max(entries(root), key=lambda entry: entry.stat().st_mtime)
        os.utime(newest, (1000 + age, 1000 + age))
    sizes = [sum(f.stat().st_size for f in entry.iterdir()) for entry in entries(root)]
    pixels(parts[0])  # used again: the other one is older now
    monkeypatch.setenv("EDGEPRUNE_CACHE_GB", str(1.5 * sum(sizes) / 1e9 * 0.95))
    pixels(parts[2])
    assert [decoded(part) for part in (parts[0], parts[2])] == [0, 0]
    assert len(entries(root)) == 2


def test_more_than_the_limit_stays_in_memory(
    root: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRUNE_CACHE_GB", "0.00004")  # one of two domains
    said = Said()
    assert same(pixels(samples, said), uncached(samples))
    assert "is full (4e-05 GB, EDGEPRUNE_CACHE_GB)" in said.lines[0]
    assert len(said.lines) == 1
    assert len(entries(root)) == 1


@pytest.mark.parametrize("limit", ["0", "-1", "inf", "nan", "much"])
def test_a_limit_that_is_none(
    root: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setenv("EDGEPRUNE_CACHE_GB", limit)
    with pytest.raises(UsageError, match=f"EDGEPRUNE_CACHE_GB='{limit}' is not accepted"):
        pixels(samples)


def test_an_unreadable_image_is_named_and_the_domains_before_it_are_kept(
    root: Path, samples: list[Sample]
) -> None:
    gone = Sample(samples[0].path.with_name("gone.png"), 0, "c", "g")
    for _ in range(2):
        with pytest.raises(DataError, match=r"gone\.png.*does not exist"):
            pixels([*samples[6:12], gone])
    assert decoded(samples[6:12]) == 0


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert user_cache() == tmp_path / ".cache" / "edgeprune"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says its specification
    assert user_cache() == tmp_path / ".cache" / "edgeprune"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    assert user_cache() == tmp_path / "mine" / "edgeprune"


def test_a_change_of_decoding_needs_another_number(
    root: Path, samples: list[Sample], tmp_path: Path
) -> None:
    """Cached pixels would be wrong: raise DECODING in store.py when this has to change."""
    exotic = tmp_path / "exotic"
    exotic.mkdir()
    ramp = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50) * 30
    Image.fromarray(ramp).save(exotic / "sixteen.png")
    Image.fromarray((ramp % 251).astype(np.uint8)).convert("P").save(exotic / "palette.png")
    Image.fromarray(np.stack([ramp % 199] * 4, 2).astype(np.uint8), "CMYK").save(exotic / "c.tif")
    turned = Image.fromarray(np.stack([ramp % 251] * 3, 2).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(exotic / "turned.png", exif=exif)
    own = [Sample(path, 0, "x", "g") for path in sorted(exotic.iterdir())]
    if PIL.__version__ != "13.0.0":
        pytest.skip("the pixels are those of another Pillow, which is part of the cache's key")
    digest = hashlib.sha256()
    for one in pixels([*samples, *own]):
        digest.update(repr(one.shape).encode() + one.tobytes())
    assert (store.DECODING, digest.hexdigest()) == (
        "1",
        "c0c0d2dacc18a45a9f33e15cdda3f0444a6972dfe316db6c468bb20d60b13789",
    )
