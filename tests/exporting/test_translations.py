from __future__ import annotations

import math
from collections import Counter
from functools import partial
from pathlib import Path

import onnx
import onnxruntime
import pytest
import timm

from edgeprune.exporting.onnx import export_onnx
from edgeprune.exporting.parity import prove, random_probe
from edgeprune.model import DenseOptions, Model, create, random_model


@pytest.fixture
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model of one block, none of whose parameters is zero."""
    shallow = partial(timm.create_model, depth=1)
    monkeypatch.setattr("edgeprune.model.timm.create_model", shallow)
    options = DenseOptions(num_classes=4, img_size=48, pretrained=False)
    return random_model(create(request.param, options).record)


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "beit_base_patch16_224"], indirect=True)
@pytest.mark.parametrize("opset", [18, 23])
def test_onnx_runtime_merges_what_it_can(model: Model, opset: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(model, path, opset=opset)
    assert prove(model, path, [random_probe(model)]).max_abs <= 1e-6

    run = _optimised(path, tmp_path)
    # q, k and v, the output projection, both layers of the MLP and the classifier: with biases
    assert run["Gemm"] == 7
    assert run["Gelu"] == 1
    assert run["FusedMatMul"] + run["Attention"] == 1
    assert not {"Split", "Squeeze", "Erf", "Div"} & set(run)


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224"], indirect=True)
def test_weights_are_stored_once(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(model, path)
    graph = onnx.load(path).graph
    assert "Split" not in {node.op_type for node in graph.node}
    numbers = [w for w in graph.initializer if w.data_type == onnx.TensorProto.FLOAT and w.dims]
    assert sum(math.prod(w.dims) for w in numbers) == model.record.pruned.params


def _optimised(path: Path, folder: Path) -> Counter[str]:
    """Return how often each operator is left once ONNX Runtime has optimised a file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)
