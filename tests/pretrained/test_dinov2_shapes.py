"""DINOv2's weights in other shapes: the same features, and every command takes the models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

from edgeprune import families
from edgeprune.cli import main
from edgeprune.domains import open_dataset
from edgeprune.errors import ModelError
from edgeprune.model import DenseOptions, Model, create
from edgeprune.pretrained import dinov2_shapes, dinov2_small, prepare_weights
from edgeprune.pretrained.registry import RECIPES

SIZE = 70
SHAPES = [
    ("dinov2-small-deit", dinov2_shapes.DEIT, "deit"),
    ("dinov2-small-beit", dinov2_shapes.BEIT, "beit"),
]


def start_from(weights: str, model: str, folder: Path) -> Model:
    file = folder / f"{weights}.safetensors"
    prepare_weights(weights, file, img_size=SIZE)
    return create(model, DenseOptions(num_classes=8, img_size=SIZE, weights=file))


def features(model: Model) -> torch.Tensor:
    """All tokens after the last norm, and what the classifier reads."""
    images = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = model.module.forward_features(images)
        pooled = model.module.forward_head(tokens, pre_logits=True)
    return torch.cat([tokens, pooled.unsqueeze(1)], 1)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    folder = tmp_path_factory.mktemp("vit")
    return features(start_from("dinov2-small", dinov2_small.MODEL, folder))


@pytest.mark.parametrize(("weights", "name", "family"), SHAPES)
def test_features_are_those_of_dinov2(
    weights: str, name: str, family: str, tmp_path: Path, reference: torch.Tensor
) -> None:
    model = start_from(weights, name, tmp_path)
    assert model.record.family == family
    assert (model.record.mean, model.record.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert model.record.interpolation == "bicubic"
    assert float(model.module.head.weight.detach().std()) == pytest.approx(0.02, rel=0.1)  # as ViT
    found = features(model)
    assert found.shape == (3, 1 + 25 + 1, 384)
    assert reference.std() > 0.5
    assert (found - reference).abs().max() <= 1e-4


@pytest.mark.parametrize(("weights", "name", "family"), SHAPES)
def test_weights_of_the_trained_size_fit_the_model_as_it_is(
    weights: str, name: str, family: str
) -> None:
    state = RECIPES[weights].read(dinov2_small.IMG_SIZE)
    with torch.device("meta"):
        expected = timm.create_model(name).state_dict()
    assert families.of(name).name == family
    assert {key: tensor.shape for key, tensor in state.items()} == {
        key: tensor.shape for key, tensor in expected.items()
    }


def test_the_shapes_are_those_of_their_families() -> None:
    with torch.device("meta"):
        deit, beit = (timm.create_model(name, img_size=SIZE, depth=1) for _, name, _ in SHAPES)
    assert not any("ls1" in key or "dist_token" in key for key in deit.state_dict())
    keys = set(beit.state_dict())
    assert {"pos_embed", "blocks.0.gamma_1", "blocks.0.attn.relative_position_bias_table"} <= keys
    assert "blocks.0.attn.k_bias" not in keys
    assert beit.global_pool == "token"
    assert beit.norm.eps == 1e-6  # DINOv2's
    assert deit.norm.eps == pytest.approx(1e-6 * dinov2_shapes.STREAM_SCALE**2)


def test_there_are_no_weights_to_fetch() -> None:
    with pytest.raises(ModelError, match="'beit_small_patch14' could not be fetched") as caught:
        create(dinov2_shapes.BEIT, DenseOptions(num_classes=8, img_size=28))
    assert "--weights FILE" in str(caught.value.hint)


@pytest.fixture(scope="module")
def few_emoji(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five emoji of every class in two styles."""
    root = tmp_path_factory.mktemp("few")
    data = open_dataset("emoji")
    for domain in ("apple", "microsoft"):
        for label, name in enumerate(data.classes):
            folder = root / domain / name
            folder.mkdir(parents=True)
            samples = [sample for sample in data.of(domain) if sample.label == label]
            for sample in samples[:5]:
                (folder / sample.path.name).symlink_to(sample.path)
    return root


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "name", "family"), SHAPES)
def test_from_weights_to_accuracy(
    weights: str,
    name: str,
    family: str,
    tmp_path: Path,
    few_emoji: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, pruned = tmp_path / "w.safetensors", tmp_path / "pruned"
    size = ["--img-size", str(SIZE)]
    assert main(["weights", "prepare", weights, "-o", str(file), *size]) == 0
    dense = [name, "--num-classes", "8", *size, "--weights", str(file)]
    capsys.readouterr()
    assert main(["prune", *dense, "--metric", "l1", "-o", str(pruned), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["model"], document["family"]) == (name, family)
    assert {layer["dim"] for layer in document["layers"]} == {"embed", "heads", "head_dim", "mlp"}
    assert document["pruned"]["macs"] < 0.35 * document["dense"]["macs"]
    # In a process of its own: the artifact holds the name alone, not what it stands for.
    command = [sys.executable, "-m", "edgeprune", "eval", str(pruned)]
    command += ["--data", str(few_emoji), "--target", "microsoft", "--json"]
    found = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert found.returncode == 0, found.stderr
    domains = json.loads(found.stdout)["dg"]["domains"]
    assert domains["microsoft"]["n"] > 0
