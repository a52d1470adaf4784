from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_files import write_mlp
from PIL import Image

from edgeprune.benchmarking import bench
from edgeprune.benchmarking.preprocessing import MAX_IMAGES, find_images, measure, normalise
from edgeprune.benchmarking.runtimes.base import Job, Loaded
from edgeprune.benchmarking.workers import RecordedWorker, SubprocessWorker
from edgeprune.cli.bench_lines import bench_lines
from edgeprune.domains.store import ImageStore
from edgeprune.errors import DataError
from edgeprune.images import Preprocess

MS = 1_000_000
WANTED = Preprocess(16, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in ("a/one.png", "a/two.jpg", "three.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(path)
    (tmp_path / "images/notes.txt").write_text("no image")
    return tmp_path / "images"


def test_images_are_found_below_the_folder(folder: Path, tmp_path: Path) -> None:
    assert [path.name for path in find_images(folder)] == ["one.png", "two.jpg", "three.png"]
    with pytest.raises(DataError, match="is no folder of images"):
        find_images(folder / "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        find_images(tmp_path / "empty")


def test_many_images_are_thinned_evenly(tmp_path: Path) -> None:
    for index in range(2 * MAX_IMAGES + 1):
        Image.new("RGB", (2, 2)).save(tmp_path / f"{index:04}.png")
    found = find_images(tmp_path)
    assert [path.name for path in found[:3]] == ["0000.png", "0003.png", "0006.png"]
    assert len(found) <= MAX_IMAGES


def test_a_damaged_image_is_found_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="cut"):
        find_images(tmp_path)


def test_each_step_is_timed_by_itself(folder: Path) -> None:
    # decode 1, 3, 2 ms; resize 4 ms; normalise 5, 5, 8 ms
    moments = iter([0, 1, 5, 10, 20, 23, 27, 32, 40, 42, 46, 54])
    found = measure(
        find_images(folder), dataclasses.asdict(WANTED), clock=lambda: next(moments) * MS
    )
    assert (found.decode, found.resize, found.normalise) == (2.0, 4.0, 5.0)
    assert (found.total, found.images) == (12.0, 3)


def test_a_model_that_normalises_itself_has_no_time_for_it(folder: Path) -> None:
    found = measure(find_images(folder), {**dataclasses.asdict(WANTED), "pixels": True})
    assert found.normalise == 0.0
    assert found.decode > 0


def test_what_is_timed_is_what_the_model_sees(folder: Path) -> None:
    image = Image.open(folder / "three.png").resize((16, 16))
    mean, std = (np.asarray(values, np.float32) for values in (WANTED.mean, WANTED.std))
    store = ImageStore([np.asarray(image)], None, WANTED)  # type: ignore[arg-type]
    np.testing.assert_allclose(normalise(image, mean, std), store.eval_batch([0])[0], atol=1e-5)


def test_an_image_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png"):
        measure(find_images(folder), dataclasses.asdict(WANTED))


def test_models_that_want_the_same_share_the_figure(folder: Path, tmp_path: Path) -> None:
    facts: dict[str, dict[str, Any] | None] = {
        "a": dataclasses.asdict(WANTED),
        "b": dataclasses.asdict(WANTED),
        "c": None,
    }

    def start(job: Job) -> RecordedWorker:
        loaded = Loaded(img_size=8, precision="fp32", preprocess=facts[job.name])
        return RecordedWorker([[2 * MS] * 7], loaded)

    paths = [str(write_mlp(tmp_path / f"{name}.onnx")) for name in facts]
    result = bench(paths, threads=1, start=start, images=folder)
    a, b, c = (row.preprocessing_ms for row in result.measurements)
    assert a is not None
    assert a.images == 3
    assert a == b
    assert c is None
    assert any("c does not say how its images are prepared" in line for line in result.warnings)
    lines = list(bench_lines(result))
    assert [line.split(":")[0] for line in lines] == ["a", "b"]
    assert "preparing an image takes" in lines[0]
    assert bench(paths, threads=1, start=start).measurements[0].preprocessing_ms is None
    with pytest.raises(DataError):
        bench(paths, threads=1, start=start, images=tmp_path / "nowhere")


def test_a_file_says_how_its_images_are_prepared(tmp_path: Path) -> None:
    metadata = {"edgeprune.preprocess": json.dumps(dataclasses.asdict(WANTED))}
    path = write_mlp(tmp_path / "net.onnx", metadata=metadata)
    job = Job("net", "onnxruntime", str(path), "cpu", 1, 1, 0)
    with SubprocessWorker(job) as worker:
        loaded = worker.load()
        assert worker.transfers(0.01) is None
    assert loaded.preprocess == {
        **json.loads(metadata["edgeprune.preprocess"]),
        "pixels": False,
    }
