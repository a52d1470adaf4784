from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from models import CASES, ONE_OF_EACH, made_small
from onnxscript import ir

from edgeprune.errors import ModelError
from edgeprune.exporting.export import export
from edgeprune.exporting.older_opsets import write_in
from edgeprune.exporting.onnx import export_onnx, trace, write
from edgeprune.exporting.parity import prove, random_probe
from edgeprune.exporting.settings import ExportSettings
from edgeprune.model import DenseOptions, create, random_model

# Of every way in which blocks are written.
SMALL_MODELS = {name: (size, extra) for name, size, extra in CASES[::-1] if name in ONE_OF_EACH}
NORM = """
<ir_version: 10, opset_import: ["" : 18]>
agraph (float[2, 5] images, float[5] scale, float[5] bias) => (float[2, 5] logits) {
  logits = LayerNormalization <axis = -1, epsilon = 1e-6, stash_type = 1> (images, scale, bias)
}
"""


def lowered(text: str, opset: int) -> onnx.ModelProto:
    found = ir.from_onnx_text(text)
    write_in(found, opset)
    return ir.to_proto(found)


@pytest.mark.parametrize("name", sorted(SMALL_MODELS))
def test_an_older_opset_computes_the_same(name: str, tmp_path: Path) -> None:
    size, extra = SMALL_MODELS[name]
    with made_small(extra, 1):
        dense = create(name, DenseOptions(num_classes=4, img_size=size, pretrained=False))
        model = random_model(dense.record)
    path = tmp_path / "model.onnx"
    export_onnx(model, path, opset=13)
    found = onnx.load(path)
    onnx.checker.check_model(found, full_check=True)
    assert (found.opset_import[0].version, found.ir_version) == (13, 7)
    assert "LayerNormalization" not in {node.op_type for node in found.graph.node}
    assert prove(model, path, [random_probe(model)]).max_abs <= 1e-6


@pytest.mark.parametrize(("opset", "ir_version", "whole"), [(13, 7, False), (17, 8, True)])
def test_an_export_says_its_opset(opset: int, ir_version: int, whole: bool, tmp_path: Path) -> None:
    model = create(
        "vit_tiny_patch16_224", DenseOptions(num_classes=4, img_size=32, pretrained=False)
    )
    settings = ExportSettings(opset=opset, pixels=True)
    (file,) = export(model, tmp_path / "out", settings).files
    found = onnx.load(file.path)
    assert (file.opset, found.opset_import[0].version) == (opset, opset)
    assert found.ir_version == ir_version
    assert ("LayerNormalization" in {node.op_type for node in found.graph.node}) == whole


def test_large_channels_fit_into_fp16_in_every_step(tmp_path: Path) -> None:
    found = ir.from_onnx_text(NORM)
    write_in(found, 13)
    for node in found.graph:
        found.graph.outputs.extend(value for value in node.outputs if value.name != "logits")
    write(found, tmp_path / "norm.onnx", {})
    session = onnxruntime.InferenceSession(str(tmp_path / "norm.onnx"))
    images = np.array([[2000, -2000, 1500, 3, 0.5], [1, 2, 3, 4, 5]], np.float32)
    scale, bias = np.linspace(0.5, 2, 5, dtype=np.float32), np.arange(5, dtype=np.float32)
    outputs = session.run(None, {"images": images, "scale": scale, "bias": bias})
    assert max(np.abs(value).max() for value in outputs) < np.finfo(np.float16).max
    wanted = torch.nn.functional.layer_norm(
        *(torch.from_numpy(images), (5,), torch.from_numpy(scale), torch.from_numpy(bias)), 1e-6
    )
    np.testing.assert_allclose(outputs[0], wanted.numpy(), atol=1e-5)


def test_what_an_older_opset_lacks_is_named() -> None:
    gelu = NORM.replace("LayerNormalization <axis = -1, epsilon = 1e-6, stash_type = 1>", "Gelu")
    newer = gelu.replace("(images, scale, bias)\n", "(images)\n").replace(": 18", ": 20")
    with pytest.raises(ModelError, match="the operator Gelu, which opset 13 does not have"):
        lowered(newer, 13)
    scaled = newer.replace("Gelu", "Softmax <axis = 1, gain = 2>")
    with pytest.raises(ModelError, match="opset 13 has no gain of Softmax"):
        lowered(scaled, 13)


def test_18_is_left_as_it_is() -> None:
    model = create(
        "vit_tiny_patch16_224", DenseOptions(num_classes=4, img_size=32, pretrained=False)
    )
    found = trace(model)
    assert (found.opset_imports[""], found.ir_version) == (18, 10)
