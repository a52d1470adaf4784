from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from models import images

from edgeprune import artifact
from edgeprune.errors import ArtifactError, EdgepruneError, ModelError
from edgeprune.loading import load_model
from edgeprune.model import DenseOptions, create
from edgeprune.pruning import PruneSettings, prune

SIZE = 48


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = DenseOptions(num_classes=4, img_size=SIZE, pretrained=False)
    model = prune(create("deit_tiny_distilled_patch16_224", options), PruneSettings()).model
    folder = tmp_path_factory.mktemp("artifacts") / "pruned"
    artifact.save(model, folder)
    return folder


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "beit_base_patch16_224"]
)
def test_reloaded_logits_are_bit_identical(tmp_path: Path, name: str) -> None:
    options = DenseOptions(num_classes=4, img_size=SIZE, pretrained=False)
    model = prune(create(name, options), PruneSettings(metric="random")).model
    artifact.save(model, tmp_path / "a")
    loaded = load_model(str(tmp_path / "a"))
    for size in (1, 3):
        with torch.no_grad():
            assert torch.equal(loaded.module(images(SIZE, size)), model.module(images(SIZE, size)))


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        options = DenseOptions(num_classes=4, img_size=SIZE, pretrained=False, seed=3)
        model = prune(create("vit_tiny_patch16_224", options), PruneSettings(metric="random"))
        artifact.save(model.model, tmp_path / folder)
    for name in (artifact.WEIGHTS_FILE, artifact.RECORD_FILE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_artifact_is_two_files_without_code(saved: Path) -> None:
    assert sorted(p.name for p in saved.iterdir()) == ["edgeprune.json", "model.safetensors"]
    record = json.loads((saved / "edgeprune.json").read_text())
    assert record["schema"] == "edgeprune/artifact@1"
    assert {"model", "family", "num_classes", "img_size", "mean", "std", "widths"} <= record.keys()
    assert record["made"][0]["options"]["metric"] == "l1"
    assert record["pruned"]["macs"] < record["dense"]["macs"]


def _edit(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "edgeprune.json"
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))

    return damage


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _flip_a_byte(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def _tensors(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        tensors = safetensors.torch.load_file(path)
        tensors = {key: value.clone() for key, value in tensors.items()}
        change(tensors)
        path.write_bytes(safetensors.torch.save(tensors))

    return damage


def _reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["head.weight"] = torch.zeros(4, 7)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "not a readable safetensors file"),
        (_flip_a_byte, "SHA-256"),
        (_tensors(lambda t: t.__delitem__("norm.weight")), "'norm.weight' is missing"),
        (_tensors(_reshape), "'head.weight' has shape"),
        (_tensors(lambda t: t.update(extra=torch.zeros(1))), "'extra' is not part"),
        (_edit(lambda r: r.update(schema="edgeprune/artifact@9")), "artifact@9"),
        (_edit(lambda r: r.update(schema="something/else@1")), "something/else@1"),
        (_edit(lambda r: r.pop("schema")), "schema None"),
        (_edit(lambda r: r.pop("widths")), "widths"),
        (_edit(lambda r: r["widths"][1].update(width=5)), "shape"),
        (_edit(lambda r: r["widths"].pop()), "widths do not fit"),
        (_edit(lambda r: r.update(model="resnet18")), "no supported family"),
        (_edit(lambda r: r.update(model="no_such_model")), "unknown model"),
        (_edit(lambda r: r.update(surprise=1)), "surprise"),
        (lambda f: (f / "edgeprune.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda f: (f / "edgeprune.json").unlink(), "no edgeprune.json"),
    ],
)
def test_a_damaged_artifact_is_a_clear_error(
    saved: Path, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    damage(folder)
    with pytest.raises(EdgepruneError, match=message) as caught:
        load_model(str(folder))
    assert isinstance(caught.value, (ArtifactError, ModelError))
    assert caught.value.exit_code == 2


def test_a_newer_schema_says_how_to_read_it(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    _edit(lambda r: r.update(schema="edgeprune/artifact@2"))(tmp_path / "copy")
    with pytest.raises(ArtifactError) as caught:
        load_model(str(tmp_path / "copy"))
    assert "upgrade" in str(caught.value.hint)


def test_weights_from_a_file(tmp_path: Path) -> None:
    options = DenseOptions(num_classes=4, img_size=SIZE, pretrained=False, seed=1)
    source = create("vit_tiny_patch16_224", options).module.state_dict()
    path = tmp_path / "w.safetensors"
    body = {key: value for key, value in source.items() if not key.startswith("head.")}
    path.write_bytes(safetensors.torch.save(body))
    again = DenseOptions(num_classes=4, img_size=SIZE, weights=path, seed=2)
    loaded = create("vit_tiny_patch16_224", again).module.state_dict()
    assert torch.equal(loaded["blocks.3.mlp.fc1.weight"], source["blocks.3.mlp.fc1.weight"])

    path.write_bytes(safetensors.torch.save({"other": torch.zeros(2)}))
    with pytest.raises(ModelError, match="does not fit"):
        create("vit_tiny_patch16_224", again)
    path.write_bytes(b"not safetensors")
    with pytest.raises(ArtifactError, match="not a readable"):
        create("vit_tiny_patch16_224", again)
    wrong = {**source, "pos_embed": torch.zeros(1, 2, 3)}
    path.write_bytes(safetensors.torch.save(wrong))
    with pytest.raises(ModelError, match="'pos_embed' has shape"):
        create("vit_tiny_patch16_224", again)
