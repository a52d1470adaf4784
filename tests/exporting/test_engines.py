"""Engines in an export: trtexec's stand-in builds them, TensorRT's runs them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import torch
from engine_stand_ins import RecordedGpu, StandIn, install_trtexec
from models import SMALL, made_small
from onnxscript import ir

from edgeprune.engines.files import read_record
from edgeprune.engines.gpu import Array
from edgeprune.engines.runner import EngineRunner
from edgeprune.engines.settings import EngineSettings
from edgeprune.errors import CheckError, EngineError, UsageError
from edgeprune.exporting import ExportSettings, Int8Settings, export
from edgeprune.exporting.onnx import trace
from edgeprune.model import DenseOptions, Model, create, random_model

SIZE = 32
EXPORT = import_module("edgeprune.exporting.export")


@pytest.fixture(scope="module")
def traced() -> tuple[Model, ir.Model]:
    options = DenseOptions(num_classes=3, img_size=SIZE, pretrained=False)
    with made_small(SMALL, 1):
        model = random_model(create("vit_tiny_patch16_224", options).record)
    return model, trace(model)


@pytest.fixture
def model(traced: tuple[Model, ir.Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model that is not traced again, on a machine whose only builder is trtexec."""
    monkeypatch.setenv("TRTEXEC", str(install_trtexec(tmp_path / "bin", "10.3")))
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(EXPORT, "trace", lambda *_, **__: traced[1].clone())
    return traced[0]


def _settings(**options: object) -> ExportSettings:
    return ExportSettings(engine=EngineSettings(builder="trtexec"), **options)  # type: ignore[arg-type]


def _running(monkeypatch: pytest.MonkeyPatch, model: Model, off_by: float) -> None:
    """Let engines run here, on a stand-in that computes what the model does, but for ``off_by``."""

    def compute(images: Array) -> Array:
        with torch.no_grad():
            found: Array = model.module(torch.from_numpy(images)).numpy() + off_by
        return found

    def open_engine(path: Path) -> EngineRunner:
        gpu = RecordedGpu()
        trt = StandIn(compute=compute, memory=gpu.memory)
        return EngineRunner(path, read_record(path), trt, gpu)

    monkeypatch.setattr("edgeprune.exporting.engines.open_engine", open_engine)


def test_an_engine_that_runs_here_is_proved(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _running(monkeypatch, model, 0.0)
    (file,) = export(model, tmp_path / "out", _settings(onnx=False)).files
    assert (file.format, file.verified) == ("tensorrt", "parity")
    assert file.parity is not None
    assert file.parity.n == 8
    assert file.parity.max_abs <= 1e-5
    record = read_record(Path(file.path))
    assert (record.built.builder, record.built.sm) == ("trtexec", "8.7")
    assert record.layers == ["fc1", "fc2"]
    # times of kernels are kept where the user's caches are, by version
    assert record.built.timing_cache is not None
    assert Path(record.built.timing_cache).parent == tmp_path / "cache" / "tensorrt-timing"
    assert "10.3.0" in record.built.timing_cache


def test_an_engine_that_differs_is_not_kept(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _running(monkeypatch, model, 0.1)
    with pytest.raises(CheckError, match="the fp32 engine differs from PyTorch"):
        export(model, tmp_path / "out", _settings())
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_one_engine_that_does_not_come_leaves_nothing(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EXPORT, "file_name", lambda precision: "det.onnx")
    with pytest.raises(EngineError, match="refuses operator 'Det'"):
        export(model, tmp_path / "out", _settings())
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 23}, "attention as one operator, which TensorRT refuses"),
        ({"optimize": True}, "cannot read operators of ONNX Runtime"),
        ({"precisions": ("int8",)}, "refuses int8 that is made for 'cpu'"),
    ],
)
def test_settings_that_no_engine_comes_of(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _settings(**options)
    _settings(precisions=("int8",), int8=Int8Settings(runtime="tensorrt"))
    with pytest.raises(UsageError, match="needs a format"):
        ExportSettings(onnx=False)
