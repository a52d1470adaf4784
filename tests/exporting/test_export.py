from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from models import images

from edgeprune import artifact
from edgeprune.errors import CheckError, UsageError
from edgeprune.exporting import ExportSettings, export
from edgeprune.exporting import parity as parity_module
from edgeprune.model import DenseOptions, Model, create
from edgeprune.pruning import PruneSettings, prune

NAMES = {
    "vit_tiny_patch16_224": 48,
    "deit_tiny_distilled_patch16_224": 48,
    "beit_base_patch16_224": 48,
    "vit_small_patch14_reg4_dinov2": 42,
}


def _pruned(name: str) -> Model:
    options = DenseOptions(num_classes=4, img_size=NAMES[name], pretrained=False)
    model = create(name, options)
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return prune(model, PruneSettings(ratio=0.75, metric="random")).model


@pytest.mark.parametrize("name", NAMES)
def test_pruned_models_export_with_parity_and_metadata(name: str, tmp_path: Path) -> None:
    model = artifact.save(_pruned(name), tmp_path / "artifact")
    result = export(model, tmp_path / "onnx")
    (file,) = result.files
    assert file.parity is not None
    assert file.parity.max_abs <= 1e-4
    assert file.parity.top1_agreement == 100
    assert sorted(p.name for p in (tmp_path / "onnx").iterdir()) == ["model.onnx"]

    proto = onnx.load(file.path)
    props = {p.key: p.value for p in proto.metadata_props}
    assert props["edgeprune.fingerprint"] == model.record.weights_sha256
    assert json.loads(props["edgeprune.preprocess"])["img_size"] == NAMES[name]
    assert int(props["edgeprune.macs"]) == model.record.pruned.macs

    session = onnxruntime.InferenceSession(file.path, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["images"]
    assert session.get_inputs()[0].shape == ["batch", 3, NAMES[name], NAMES[name]]
    for count in (1, 5):
        x = images(NAMES[name], count)
        (logits,) = session.run(["logits"], {"images": x.numpy()})
        with torch.no_grad():
            assert np.abs(logits - model.module(x).numpy()).max() <= 1e-4


def test_a_fixed_batch(tmp_path: Path) -> None:
    result = export(_pruned("vit_tiny_patch16_224"), tmp_path / "x", ExportSettings(batch=3))
    session = onnxruntime.InferenceSession(result.files[0].path)
    assert session.get_inputs()[0].shape[0] == 3


def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity_module, "MAX_ABS", 0.0)
    with pytest.raises(CheckError, match="differs from PyTorch"):
        export(_pruned("vit_tiny_patch16_224"), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_opset_and_batch_out_of_range(tmp_path: Path) -> None:
    model = _pruned("vit_tiny_patch16_224")
    with pytest.raises(UsageError, match="opset 7"):
        export(model, tmp_path / "x", ExportSettings(opset=7))
    with pytest.raises(UsageError, match="batch 0"):
        export(model, tmp_path / "x", ExportSettings(batch=0))
    assert list(tmp_path.iterdir()) == []
