from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from models import images
from onnx import TensorProto
from onnxscript import ir
from small_exports import small_model
from toy_domains import SIZE

from edgeprune.errors import CheckError
from edgeprune.exporting import ExportSettings, export, fp16
from edgeprune.exporting.fp16 import beyond_half, to_half
from edgeprune.exporting.observation import largest_values
from edgeprune.exporting.onnx import metadata, trace, write
from edgeprune.model import Model
from edgeprune.onnx_runner import OnnxRunner

HALF = ExportSettings(precisions=("fp16",))


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model()


@pytest.fixture(scope="module")
def base(model: Model) -> ir.Model:
    return trace(model)


def _large(model: Model) -> None:
    """Make a channel of the residual stream larger than fp16's largest number."""
    with torch.no_grad():
        model.module.get_submodule("patch_embed.proj").bias[3] = 1e5


@pytest.mark.parametrize("io", ["fp32", "fp16"])
def test_weights_are_halves_and_sensitive_operators_are_not(
    model: Model, base: ir.Model, io: str, tmp_path: Path
) -> None:
    half = base.clone()
    to_half(half, io=io)
    write(half, tmp_path / "half.onnx", metadata(model, "fp16"))
    proto = onnx.load(tmp_path / "half.onnx")
    onnx.checker.check_model(proto, full_check=True)
    kinds = {w.name: w.data_type for w in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type in ("Gemm", "Conv"):
            assert {kinds[name] for name in node.input[1:]} == {TensorProto.FLOAT16}
        if node.op_type == "LayerNormalization":
            assert {kinds[name] for name in node.input[1:]} == {TensorProto.FLOAT}
    kind = TensorProto.FLOAT if io == "fp32" else TensorProto.FLOAT16
    ends = (proto.graph.input[0], proto.graph.output[0])
    assert [end.type.tensor_type.elem_type for end in ends] == [kind, kind]
    assert [end.name for end in ends] == ["images", "logits"]

    x = images(SIZE)
    with torch.no_grad():
        expected = model.module(x).numpy()
    found = OnnxRunner(tmp_path / "half.onnx").logits(x.numpy())
    assert np.abs(found - expected).max() <= 0.02 * expected.std()


def test_the_traced_model_is_not_changed(base: ir.Model) -> None:
    to_half(base.clone(), io="fp16")
    assert {value.dtype for node in base.graph for value in node.outputs} <= {
        ir.DataType.FLOAT,
        ir.DataType.INT64,
    }
    assert base.graph.inputs[0].dtype == ir.DataType.FLOAT


@pytest.fixture(scope="module")
def large() -> tuple[Model, ir.Model]:
    model = small_model()
    _large(model)
    return model, trace(model)


@pytest.fixture
def traced_once(large: tuple[Model, ir.Model], monkeypatch: pytest.MonkeyPatch) -> Model:
    """The large model, which is not traced again."""
    module = import_module("edgeprune.exporting.export")
    monkeypatch.setattr(module, "trace", lambda *_, **__: large[1].clone())
    return large[0]


@pytest.mark.filterwarnings("ignore:overflow")
def test_numbers_beyond_fp16_stay_in_fp32(large: tuple[Model, ir.Model], tmp_path: Path) -> None:
    model, base = large
    x = images(SIZE)
    with torch.no_grad():
        expected = model.module(x).numpy()
    naive = base.clone()
    to_half(naive)
    write(naive, tmp_path / "naive.onnx", {})
    assert not np.isfinite(OnnxRunner(tmp_path / "naive.onnx").logits(x.numpy())).all()

    careful = base.clone()
    keep = beyond_half(base, largest_values(base, [x]))
    assert keep
    to_half(careful, keep)
    write(careful, tmp_path / "careful.onnx", {})
    found = OnnxRunner(tmp_path / "careful.onnx").logits(x.numpy())
    assert np.abs(found - expected).max() <= 0.02 * expected.std()


def test_what_is_kept_is_told(traced_once: Model, tmp_path: Path) -> None:
    (file,) = export(traced_once, tmp_path / "out", HALF).files
    assert {part.reason for part in file.kept} == {"range"}
    assert file.parity is not None
    assert file.parity.inputs == ["random", "extreme"]


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_file_that_overflows_is_not_kept(
    traced_once: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fp16, "LARGEST", np.inf)
    with pytest.raises(CheckError, match="not finite on random images"):
        export(traced_once, tmp_path / "out", HALF)
    assert list(tmp_path.iterdir()) == []


def test_a_large_difference_is_refused(
    traced_once: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune.exporting.parity.HALF_SHARE", 1e-9)
    with pytest.raises(CheckError, match=r"the fp16 ONNX file differs .* largest difference"):
        export(traced_once, tmp_path / "out", HALF)


def test_a_file_of_the_newest_operators(tmp_path: Path) -> None:
    (file,) = export(small_model(), tmp_path / "out", ExportSettings(("fp16",), opset=23)).files
    assert file.parity is not None
    (attention, *_) = [n for n in onnx.load(file.path).graph.node if n.op_type == "Attention"]
    assert {a.name: a.i for a in attention.attribute}["softmax_precision"] == TensorProto.FLOAT


NORMALISED = """
<ir_version: 8, opset_import: ["" : 18]>
net (float[batch, 4] images) => (float[batch, 4] logits)
<float least = {1e-12}, int64[1] axis = {-1}>
{
  norm = ReduceL2 (images, axis)
  kept = Clip (norm, least)
  logits = Div (images, kept)
}
"""


def test_a_query_of_zeros_is_not_divided_by_zero(tmp_path: Path) -> None:
    """SwinV2 normalises queries and keys; fp16 would round the least norm, 1e-12, to nothing."""
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(NORMALISED))
    found = ir.from_proto(proto)
    to_half(found)
    write(found, tmp_path / "half.onnx", {})
    given = np.array([[0, 0, 0, 0], [3, 0, 4, 0]], np.float32)
    logits = OnnxRunner(tmp_path / "half.onnx").logits(given)
    assert logits == pytest.approx(given / 5, abs=1e-3)
