from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from models import images
from onnx import TensorProto, numpy_helper
from onnxscript import ir
from small_exports import small_model
from toy_domains import SIZE

from edgeprune.exporting.calibration import METHODS, Range, activation_ranges
from edgeprune.exporting.int8 import (
    FLAVOURS,
    activation_scale,
    quantise_dynamic,
    quantise_static,
    quantise_weight,
)
from edgeprune.exporting.layers import products
from edgeprune.exporting.onnx import trace, write
from edgeprune.model import Model
from edgeprune.onnx_runner import OnnxRunner

X = images(SIZE, 8)
# q, k, v, projection and both layers of the MLP, twice, and the classifier
LINEAR = 13


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model()


@pytest.fixture(scope="module")
def base(model: Model) -> ir.Model:
    return trace(model)


@pytest.fixture(scope="module")
def ranges(base: ir.Model) -> dict[str, Range]:
    return activation_ranges(base, lambda: [X], "minmax")


def _error(found: ir.Model, model: Model, path: Path) -> float:
    """Largest difference from PyTorch as a share of the logits' standard deviation."""
    write(found, path, {})
    onnx.checker.check_model(str(path), full_check=True)
    with torch.no_grad():
        expected = model.module(X).numpy()
    return float(np.abs(OnnxRunner(path).logits(X.numpy()) - expected).max() / expected.std())


def _as_run(path: Path) -> Counter[str]:
    """Count the operators that ONNX Runtime makes of a file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".run"))
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    proto = onnx.load(path.with_suffix(".run"))
    return Counter(node.op_type for node in proto.graph.node)


def test_products_have_the_names_of_modules(model: Model, base: ir.Model) -> None:
    layers = [product.layer for product in products(base)]
    assert len(layers) == LINEAR + 1
    assert layers[:4] == ["patch_embed.proj", *["blocks.0.attn.qkv"] * 3]
    for layer in layers:
        assert hasattr(model.module.get_submodule(layer), "weight")


@pytest.mark.parametrize("runtime", FLAVOURS)
def test_static_int8_is_near(
    model: Model, base: ir.Model, ranges: dict[str, Range], runtime: str, tmp_path: Path
) -> None:
    found = base.clone()
    quantise_static(found, ranges, FLAVOURS[runtime])
    assert _error(found, model, tmp_path / "m.onnx") <= 0.15
    run = _as_run(tmp_path / "m.onnx")
    # every linear layer runs in integers where biases are integers too
    assert run["QGemm"] == (0 if runtime == "tensorrt" else LINEAR)


def test_dynamic_int8_is_near(model: Model, base: ir.Model, tmp_path: Path) -> None:
    found = base.clone()
    quantise_dynamic(found, FLAVOURS["cpu"])
    assert _error(found, model, tmp_path / "m.onnx") <= 0.15
    run = _as_run(tmp_path / "m.onnx")
    assert run["DynamicQuantizeMatMul"] + run["MatMulIntegerToFloat"] == LINEAR
    assert run["Gemm"] == 0


def test_tensorrt_gets_signed_symmetric_activations_and_fp32_biases(
    base: ir.Model, ranges: dict[str, Range], tmp_path: Path
) -> None:
    found = base.clone()
    quantise_static(found, ranges, FLAVOURS["tensorrt"])
    write(found, tmp_path / "m.onnx", {})
    graph = onnx.load(tmp_path / "m.onnx").graph
    stored = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            assert stored[node.input[2]].dtype == np.int8
            assert stored[node.input[2]] == 0
        if node.op_type == "Gemm":
            assert stored[node.input[2]].dtype == np.float32


def test_without_vnni_pairs_of_products_fit_16_bits(
    base: ir.Model, ranges: dict[str, Range], tmp_path: Path
) -> None:
    found = base.clone()
    quantise_static(found, ranges, FLAVOURS["cpu-avx2"])
    write(found, tmp_path / "m.onnx", {})
    largest = [
        int(np.abs(numpy_helper.to_array(w).astype(int)).max())
        for w in onnx.load(tmp_path / "m.onnx").graph.initializer
        if w.data_type == TensorProto.INT8 and len(w.dims) > 1
    ]
    assert len(largest) == LINEAR + 1
    assert 2 * 255 * max(largest) <= np.iinfo(np.int16).max
    assert max(largest) == 63


@pytest.mark.parametrize("static", [True, False])
def test_kept_layers_stay_as_they_are(
    base: ir.Model, ranges: dict[str, Range], static: bool
) -> None:
    found = base.clone()
    keep = {"blocks.0.attn.qkv", "head", "patch_embed.proj"}
    if static:
        quantise_static(found, ranges, FLAVOURS["cpu"], keep)
    else:
        quantise_dynamic(found, FLAVOURS["cpu"], keep)
    assert {product.layer for product in products(found)} == keep
    assert len(products(base)) == LINEAR + 1  # the original too


def test_a_channel_of_nothing_but_a_bias_keeps_it(tmp_path: Path) -> None:
    model = small_model()
    with torch.no_grad():
        layer = model.module.get_submodule("blocks.1.mlp.fc2")
        layer.weight[5] = 0
        layer.bias[5] = 7.125
    base = trace(model)
    found = activation_ranges(base, lambda: [X], "minmax")
    copy = base.clone()
    quantise_static(copy, found, FLAVOURS["cpu"])
    assert _error(copy, model, tmp_path / "m.onnx") <= 0.15


@pytest.mark.parametrize("method", METHODS)
def test_ranges_hold_zero_and_no_more_than_was_seen(
    base: ir.Model, ranges: dict[str, Range], method: str
) -> None:
    found = activation_ranges(base, lambda: [X[:3], X[3:]], method)
    assert found.keys() == ranges.keys()
    for name, own in found.items():
        assert ranges[name].low - 1e-6 <= own.low <= 0 <= own.high <= ranges[name].high + 1e-6
    widths = [(r.high - r.low) / (ranges[n].high - ranges[n].low) for n, r in found.items()]
    assert (min(widths) == 1) == (method == "minmax")


def test_zero_is_exact_and_weights_round_to_the_nearest(base: ir.Model) -> None:
    scale, zero = activation_scale(Range(-1.0, 4.0), FLAVOURS["cpu"])
    assert (scale, int(zero)) == (pytest.approx(5 / 255), 51)
    scale, zero = activation_scale(Range(-1.0, 4.0), FLAVOURS["tensorrt"])
    assert (scale, int(zero)) == (pytest.approx(4 / 127), 0)
    product = products(base)[-1]
    integers, scales = quantise_weight(product, 127)
    array = product.weight.const_value.numpy()  # type: ignore[union-attr]
    assert np.abs(integers * scales[:, None] - array).max() <= scales.max() / 2 * 1.001
    assert np.abs(integers).max(1).tolist() == [127] * len(array)
