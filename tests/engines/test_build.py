"""Building through the Python API, with a stand-in for every version that is supported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnx.parser
import pytest
from engine_stand_ins import Refusal, StandIn

from edgeprune.engines.build import build, probe
from edgeprune.engines.builders.base import Request
from edgeprune.errors import DiskFullError, EngineError, UnavailableError

NET = """
<ir_version: 9, opset_import: ["" : 18]>
net (float[batch, 3, 8, 8] images) => (float[batch, 3, 1, 1] logits) {
    pooled = GlobalAveragePool(images)
    [second] logits = Det(pooled)
}
"""


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    onnx.save(onnx.parser.parse_model(NET), str(tmp_path / "model.fp16.onnx"))
    return _request(tmp_path)


def _request(folder: Path, **changes: Any) -> Request:
    fields = {
        "onnx": str(folder / "model.fp16.onnx"),
        "engine": str(folder / "model.fp16.engine"),
        "input": "images",
        "shape": (None, 3, 8, 8),
        "batches": (1, 2, 8),
        "precision": "fp16",
    }
    return Request(**fields | changes)


# version, precision, flags of the network, flags of the builder, strongly typed
TABLE = [
    ("8.6.2", "fp32", 0b1, set(), False),
    ("8.6.2", "fp16", 0b1, {"FP16", "TF32"}, False),
    ("8.6.2", "int8", 0b1, {"INT8", "TF32"}, False),
    ("10.3.0", "fp32", 0b11, set(), True),
    ("10.3.0", "fp16", 0b11, {"TF32"}, True),
    ("10.3.0", "int8", 0b11, {"TF32"}, True),
    ("11.4.0", "fp16", 0b1, {"TF32"}, True),
    ("11.4.0", "int8", 0b1, {"TF32"}, True),
]


@pytest.mark.parametrize(("version", "precision", "network", "flags", "typed"), TABLE)
def test_what_every_version_is_asked_for(
    tmp_path: Path, version: str, precision: str, network: int, flags: set[str], typed: bool
) -> None:
    trt = StandIn(version)
    cache = tmp_path / "times.cache"
    request = _request(tmp_path, precision=precision, workspace_mb=256.0, timing_cache=str(cache))
    built = build(trt, request)
    (builder,) = trt.builders
    assert builder.network_flags == network
    assert builder.config.flags == flags
    assert list(builder.config.pools.values()) == [256_000_000]
    assert builder.config.profiling_verbosity.name == "DETAILED"
    (profile,) = builder.config.profiles
    assert profile.shapes == ((1, 3, 8, 8), (2, 3, 8, 8), (8, 3, 8, 8))
    assert Path(request.engine).read_bytes() == b"engine"
    assert cache.read_bytes() == b"times"
    assert (built.version, built.strongly_typed) == (version, typed)
    assert built.layers == [{"Name": "blocks.0.mlp.fc1"}]
    assert bool(built.warnings) == (version == "8.6.2" and precision != "fp32")
    # the next build starts from the times of this one
    build(trt, request)
    assert trt.builders[1].config.timings == b"times"


def test_a_fixed_batch_needs_no_profile(tmp_path: Path) -> None:
    trt = StandIn()
    build(trt, _request(tmp_path, shape=(4, 3, 8, 8), batches=(4, 4, 4)))
    assert trt.builders[0].config.profiles == []


@pytest.mark.parametrize("by_number", [True, False], ids=["8.6", "10 and newer"])
def test_a_refused_operator_is_named(request_: Request, by_number: bool) -> None:
    names = {} if by_number else {"operator": "Det", "name": "second"}
    refusal = Refusal(1, "no importer\n for it", **names)
    trt = StandIn("8.6.2" if by_number else "11.4.0", refusals=[refusal, refusal])
    with pytest.raises(EngineError) as caught:
        build(trt, request_)
    assert str(caught.value) == (
        f"TensorRT {trt.version} refuses operator 'Det' (node 'second') of 'model.fp16.onnx':"
        " no importer for it (and 1 more nodes)"
    )
    assert not Path(request_.engine).exists()


def test_attention_comes_with_a_way_out(request_: Request) -> None:
    trt = StandIn(refusals=[Refusal(1, "no precision of softmax", "Attention", "attend")])
    with pytest.raises(EngineError) as caught:
        build(trt, request_)
    assert caught.value.hint is not None
    assert "--opset 18 to 22" in caught.value.hint


@pytest.mark.parametrize(
    ("errors", "message", "hint"),
    [
        (["insufficient\n workspace memory"], "builds no engine of 'model.fp16.onnx'", "--max"),
        (
            [
                "IBuilder: Error Code 1: (x.cpp:59: CHECK(op->is_decomposable()) failed. Attention"
                " operation was not supported. (See https://docs)"
            ],
            "'model.fp16.onnx': Attention operation was not supported.",
            "--opset",
        ),
    ],
)
def test_an_engine_that_does_not_come(
    request_: Request, errors: list[str], message: str, hint: str
) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        build(StandIn(build_errors=errors), request_)
    assert hint in str(caught.value.hint)
    assert "\n" not in str(caught.value)
    assert not Path(request_.engine).exists()


def test_a_profile_that_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="does not take batches of 1/9/8"):
        build(StandIn(), _request(tmp_path, batches=(1, 9, 8)))


def test_another_file_is_no_timing_cache(tmp_path: Path) -> None:
    cache = tmp_path / "times.cache"
    cache.write_bytes(b"something else")
    with pytest.raises(EngineError, match=r"times\.cache' is no timing cache of TensorRT 10\.3\.0"):
        build(StandIn(), _request(tmp_path, timing_cache=str(cache)))
    assert cache.read_bytes() == b"something else"


def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFullError, match=r"no space left on the disk while writing .*engine"):
        build(StandIn(), _request(tmp_path))


def test_an_engine_that_cannot_be_loaded_has_no_layers(tmp_path: Path) -> None:
    assert build(StandIn(loads=False), _request(tmp_path)).layers is None


def test_versions_before_layer_normalization_are_refused() -> None:
    trt = StandIn()
    trt.__version__ = "8.5.2"
    with pytest.raises(UnavailableError, match=r"TensorRT 8\.5\.2 is too old.*8\.6 and newer"):
        probe(trt, "tensorrt")


def test_a_machine_without_a_driver_makes_no_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(log: Any) -> None:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    trt = StandIn()
    monkeypatch.setattr(trt, "Builder", fails)
    with pytest.raises(UnavailableError, match=r"tensorrt 10\.3\.0 makes no builder: pybind11"):
        probe(trt, "tensorrt")
