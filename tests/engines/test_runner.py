"""Running engines: loading, refusing, one batch after another, against recorded stand-ins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_stand_ins import RecordedGpu, StandIn, record
from toy_domains import write_toy_domains

from edgeprune.benchmarking.candidates import Candidate, find
from edgeprune.benchmarking.runtimes import tensorrt as runtime
from edgeprune.benchmarking.runtimes.base import Job
from edgeprune.cli import main
from edgeprune.engines.files import record_path
from edgeprune.engines.runner import EngineRunner
from edgeprune.errors import EngineError, ModelError, UnavailableError, UsageError
from edgeprune.files import sha256
from edgeprune.schema import EngineRecord
from edgeprune.training.engine_model import as_model


def _runner(
    tmp_path: Path,
    trt: StandIn | None = None,
    gpu: RecordedGpu | None = None,
    known: EngineRecord | None = None,
) -> EngineRunner:
    trt, gpu = trt or StandIn(), gpu or RecordedGpu()
    trt.memory = gpu.memory
    path = tmp_path / "model.fp16.engine"
    path.write_bytes(b"engine")
    return EngineRunner(path, known or record(), trt, gpu)


def _images(count: int) -> Any:
    return np.random.default_rng(0).standard_normal((count, 3, 8, 8), dtype=np.float32)


def _job(batch: int = 2, device: str = "cuda", source: str = "") -> Job:
    return Job("half", "tensorrt", source, device, batch, 1, 0)


def test_a_bench_session_uploads_once_and_waits_for_every_run(tmp_path: Path) -> None:
    trt, gpu = StandIn(), RecordedGpu()
    session = runtime.EngineSession(_runner(tmp_path, trt, gpu), _job())
    for _ in range(3):
        session.run()
    assert gpu.calls == [
        "upload (2, 3, 8, 8) float32",
        "upload (2, 3) float32",
        *["synchronize"] * 4,
    ]
    assert trt.runs == [gpu.stream] * 4
    assert session.loaded.img_size == 8
    assert session.loaded.precision == "fp16"
    assert session.loaded.macs == 1000
    assert session.loaded.fingerprint == "f" * 64
    assert session.loaded.preprocess is not None
    assert session.loaded.preprocess["img_size"] == 8
    assert not session.loaded.preprocess["pixels"]


@pytest.mark.parametrize("count", [1, 4, 11])
def test_logits_of_any_number_of_images(tmp_path: Path, count: int) -> None:
    images = _images(count)
    found = _runner(tmp_path).logits(images)
    assert np.allclose(found, images.mean((2, 3)), atol=1e-6)
    fixed = record(profile={"min": 4, "opt": 4, "max": 4})
    runner = _runner(tmp_path, known=fixed)
    assert runner.batch == 4
    assert np.allclose(runner.logits(images), images.mean((2, 3)), atol=1e-6)


def test_images_take_the_form_that_the_engine_wants(tmp_path: Path) -> None:
    half = StandIn(types=("HALF", "HALF"))
    gpu = RecordedGpu()
    assert _runner(tmp_path, half, gpu).logits(_images(2)).dtype == np.float32
    assert "upload (2, 3, 8, 8) float16" in gpu.calls
    pixels = StandIn(types=("UINT8", "FLOAT"), compute=lambda x: x.mean((1, 2)))
    known = record().model_copy(update={"input": "uint8", "layout": "NHWC"})
    gpu = RecordedGpu()
    runner = _runner(tmp_path, pixels, gpu, known)
    assert runner.takes_pixels
    runner.logits(_images(2))
    assert "upload (2, 8, 8, 3) uint8" in gpu.calls


@pytest.mark.parametrize(
    ("trt", "gpu", "message"),
    [
        (StandIn("8.6.2"), RecordedGpu(), "it is for TensorRT 10.3.0; this machine has .*8.6.2"),
        (StandIn(), RecordedGpu("7.2"), "for GPUs of architecture 87; this machine's is 72"),
        (StandIn(loads=False), RecordedGpu(), "does not load .* cudaError 35: insufficient driver"),
    ],
)
def test_engines_that_do_not_fit_are_refused(
    tmp_path: Path, trt: StandIn, gpu: RecordedGpu, message: str
) -> None:
    with pytest.raises(UnavailableError, match=message):
        _runner(tmp_path, trt, gpu)


def test_batches_that_the_engine_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a batch of 5 is not accepted by .*; 1 to 4 are"):
        runtime.EngineSession(_runner(tmp_path), _job(5))
    fixed = record(profile={"min": 4, "opt": 4, "max": 4})
    with pytest.raises(UsageError, match="4 is"):
        runtime.EngineSession(_runner(tmp_path, known=fixed), _job(2))


def test_an_engine_that_fails_says_which_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'half' fails with batch 2: the engine failed to run"):
        runtime.EngineSession(_runner(tmp_path, StandIn(fails_to_run=True)), _job())


def test_tensors_are_those_of_the_record(tmp_path: Path) -> None:
    known = record()
    other = known.tensors[0].model_copy(update={"name": "pixels"})
    renamed = known.model_copy(update={"tensors": [other, known.tensors[1]]})
    with pytest.raises(EngineError, match="images, logits; pixels, logits were expected"):
        _runner(tmp_path, known=renamed)


def test_an_engine_is_evaluated_like_any_other_file(tmp_path: Path) -> None:
    known = record().model_copy(update={"class_names": ["a", "b", "c"]})
    model = as_model(_runner(tmp_path, known=known), tmp_path)
    assert model.classes == ("a", "b", "c")
    assert model.preprocess.img_size == 8
    images = torch.from_numpy(_images(5))
    assert torch.allclose(model.logits(images), images.mean((2, 3)), atol=1e-6)
    with pytest.raises(ModelError, match="does not name its classes"):
        as_model(_runner(tmp_path), tmp_path)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "model.fp16.engine"
    path.write_bytes(b"engine")
    known = record(flavour="tensorrt", tensorrt="0.0.1")
    record_path(path).write_text(
        known.model_copy(update={"sha256": sha256(path)}).to_json(), encoding="utf-8"
    )
    return path


def test_engines_are_measured_by_their_own_runtime(engine: Path, tmp_path: Path) -> None:
    (source,) = find([Candidate(str(engine))], "engine", "tensorrt")
    assert (source.label, source.weights_bytes) == ("model.fp16", 6)
    with pytest.raises(UsageError, match="'onnxruntime' cannot load the engine") as caught:
        find([Candidate(str(engine))], "onnx", "onnxruntime")
    assert caught.value.hint == "--runtime tensorrt or trtexec measures engines"
    with pytest.raises(UsageError, match=r"measures engine files; 'x\.onnx' is none"):
        find([Candidate("x.onnx")], "engine", "tensorrt")
    with pytest.raises(UsageError, match="runs on a GPU; --device cpu was asked for"):
        runtime.load(_job(device="cpu", source=str(engine)))


@pytest.mark.parametrize("command", ["bench", "eval"])
def test_commands_say_what_is_missing(
    engine: Path, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {
        "bench": ["bench", "--runtime", "tensorrt", str(engine), "--min-time", "0.1"],
        "eval": ["eval", str(engine), "--data", str(write_toy_domains(tmp_path / "data", 2))],
    }[command]
    assert main(arguments) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "it is for TensorRT 0.0.1; this machine has" in captured.err
    assert "Traceback" not in captured.err
