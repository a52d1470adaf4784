from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import images

from edgeprune import artifact
from edgeprune.costs import count
from edgeprune.errors import UsageError
from edgeprune.model import DenseOptions, Model, create
from edgeprune.pruning import PruneSettings, prune

NAMES = {
    "vit_tiny_patch16_224": 32,
    "deit_tiny_distilled_patch16_224": 48,
    "vit_small_patch14_reg4_dinov2": 28,
    "beit_base_patch16_224": 32,
}


def _dense(name: str, seed: int = 0) -> Model:
    options = DenseOptions(num_classes=4, img_size=NAMES[name], pretrained=False, seed=seed)
    return create(name, options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ratio", [0.5, 0.75, 0.9, 0.95])
@pytest.mark.parametrize("metric", ["l1", "random"])
def test_one_shot_global_pruning_skips_no_layer(name: str, ratio: float, metric: str) -> None:
    pruned = prune(_dense(name), PruneSettings(ratio=ratio, metric=metric))
    layers = pruned.result.layers
    assert all(layer.after >= 1 for layer in layers)
    for dim in ("embed", "mlp", "heads"):
        before = sum(layer.before for layer in layers if layer.dim == dim)
        after = sum(layer.after for layer in layers if layer.dim == dim)
        assert after < before
        said = any(note.startswith(dim) for note in pruned.result.warnings)
        assert said or abs(after / before - (1 - ratio)) <= 0.01
    for block in pruned.model.module.blocks:
        mix = block.attn.mix
        assert block.attn.qkv.weight.shape[0] == 3 * mix.heads * mix.head_dim
        assert block.attn.proj.weight.shape[1] == mix.heads * mix.head_dim
    logits = pruned.model.module(images(NAMES[name]))
    assert torch.isfinite(logits).all()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(list(NAMES)),
    ratio=st.floats(0.05, 0.97),
    dims=st.sets(st.sampled_from(["embed", "heads", "head_dim", "mlp"]), min_size=1).map(tuple),
    scope=st.sampled_from(["global", "isomorphic", "local"]),
    round_to=st.sampled_from([1, 8, 16]),
    steps=st.integers(1, 2),
)
def test_any_pruning_runs_reloads_and_is_counted(
    tmp_path_factory: pytest.TempPathFactory, name: str, ratio: float, **chosen: Any
) -> None:
    pruned = prune(_dense(name), PruneSettings(ratio=ratio, metric="l2", **chosen)).model
    folder = tmp_path_factory.mktemp("artifact") / "a"
    artifact.save(pruned, folder)
    loaded = artifact.load(folder)
    x = images(NAMES[name])
    with torch.no_grad():
        assert torch.equal(loaded.module(x), pruned.module(x))
    assert count(loaded.module, NAMES[name]) == pruned.record.pruned
    assert sum(t.numel() for t in loaded.module.parameters()) == pruned.record.pruned.params


def test_two_prunings_in_one_process_do_not_meet() -> None:
    """torch-pruning's mutable defaults leak modules from one pruner into the next."""
    name = "vit_tiny_patch16_224"
    alone = prune(_dense(name), PruneSettings(ratio=0.5)).model.module.state_dict()
    prune(_dense("beit_base_patch16_224"), PruneSettings(ratio=0.75))
    again = prune(_dense(name), PruneSettings(ratio=0.5)).model.module.state_dict()
    assert alone.keys() == again.keys()
    assert all(torch.equal(alone[key], again[key]) for key in alone)


def test_half_the_width_of_vit_base_is_a_quarter_of_its_macs() -> None:
    """The paper's setting; torch-pruning's own table has 17.59 and 4.61 G."""
    options = DenseOptions(num_classes=1000, pretrained=False)
    result = prune(create("vit_base_patch16_224", options), PruneSettings(ratio=0.5)).result
    assert result.dense.macs / 1e9 == pytest.approx(17.58, rel=0.005)
    assert result.pruned.macs / 1e9 == pytest.approx(4.61, rel=0.005)
    assert result.pruned.params / result.dense.params == pytest.approx(0.253, abs=0.005)


def test_the_scale_of_thinned_heads_stays() -> None:
    dense = _dense("vit_tiny_patch16_224")
    scale = dense.module.blocks[0].attn.mix.scale
    thin = prune(dense, PruneSettings(dims=("head_dim",))).model
    assert thin.module.blocks[0].attn.mix.head_dim == 32
    assert thin.module.blocks[0].attn.mix.scale == scale


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"ratio": 0.0}, "ratio 0"),
        ({"ratio": 1.0}, "ratio 1"),
        ({"ratio": 1.5}, "ratio 1.5"),
        ({"ratio": -1.0}, "ratio -1"),
        ({"ratio": float("nan")}, "ratio nan"),
        ({"budget": "watts"}, "unknown budget 'watts'"),
        ({"scope": "everywhere"}, "unknown scope"),
        ({"dims": ("depth",)}, "unknown dimension"),
        ({"dims": ()}, "no dimension"),
        ({"round_to": 0}, "round-to 0"),
        ({"max_ratio": 0.0}, "max ratio 0"),
    ],
)
def test_bad_settings_are_named(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PruneSettings(**chosen)


def test_a_metric_that_needs_images_says_so() -> None:
    with pytest.raises(UsageError, match="'hessian' needs calibration images"):
        prune(_dense("vit_tiny_patch16_224"), PruneSettings(metric="hessian"))


def test_max_ratio_holds_in_every_layer() -> None:
    settings_ = PruneSettings(ratio=0.5, max_ratio=0.6, metric="random")
    for layer in prune(_dense("vit_tiny_patch16_224"), settings_).result.layers:
        assert layer.after >= layer.before * 0.4


def test_a_pruned_artifact_can_be_pruned_again(tmp_path: Path) -> None:
    once = prune(_dense("vit_tiny_patch16_224"), PruneSettings(ratio=0.5)).model
    saved = artifact.save(once, tmp_path / "once")
    twice = prune(artifact.load(tmp_path / "once"), PruneSettings(ratio=0.5)).model
    assert twice.record.parent == saved.record.weights_sha256
    assert [made.command for made in twice.record.made] == ["prune", "prune"]
    assert twice.record.dense == once.record.dense
    assert twice.record.pruned.macs < once.record.pruned.macs < once.record.dense.macs
