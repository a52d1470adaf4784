from __future__ import annotations

from typing import Any

import pytest
import torch
from models import CASES, IDS, timm_model
from torch import nn

from edgeprune import families
from edgeprune.families.layers import drop
from edgeprune.training import FinetuneSettings
from edgeprune.training.optimiser import (
    layer_depths,
    learning_rate,
    make_optimiser,
    set_learning_rate,
)

MODELS = [
    ("vit_small_patch14_reg4_dinov2", 42),
    ("deit_tiny_distilled_patch16_224", 64),
    ("beit_base_patch16_224", 48),
]


@pytest.mark.parametrize(("name", "size"), MODELS)
def test_only_matrices_and_filters_decay(name: str, size: int) -> None:
    module = families.of(name).adapt(timm_model(name, size))
    optimiser = make_optimiser(module, FinetuneSettings(weight_decay=0.3))
    names = {id(parameter): key for key, parameter in module.named_parameters()}
    decays = {
        names[id(parameter)]: group["weight_decay"]
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    assert set(decays) == set(names.values())
    for key, decay in decays.items():
        exempt = module.get_parameter(key).ndim < 2 or key.endswith(
            ("_token", "pos_embed", "relative_position_bias_table")
        )
        assert decay == (0.0 if exempt else 0.3), key
    assert decays["head.weight"] == decays["patch_embed.proj.weight"] == 0.3


def test_layers_before_the_classifier_learn_slower() -> None:
    module = timm_model("vit_tiny_patch16_224", 32)
    depths = layer_depths(module)
    assert depths["cls_token"] == depths["pos_embed"] == depths["patch_embed.proj.weight"] == 0
    assert depths["blocks.0.norm1.weight"] == 1
    assert depths["blocks.2.mlp.fc2.bias"] == 3
    assert depths["norm.weight"] == depths["head.weight"] == 4
    optimiser = make_optimiser(module, FinetuneSettings(layer_decay=0.5))
    set_learning_rate(optimiser, 1.0)
    rates = {
        id(parameter): group["lr"]
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    for name, parameter in module.named_parameters():
        assert rates[id(parameter)] == 0.5 ** (4 - depths[name]), name


@pytest.mark.parametrize(("name", "size", "extra"), CASES, ids=IDS)
def test_depths_count_the_blocks_of_all_stages(name: str, size: int, extra: dict[str, Any]) -> None:
    family = families.of(name)
    module = family.adapt(timm_model(name, size, **extra))
    blocks = family.blocks(module)
    depths = layer_depths(module)
    for key, depth in depths.items():
        inside = [n for n, path in enumerate(blocks, start=1) if key.startswith(f"{path}.")]
        if inside:
            assert depth == inside[0], key
        elif key.startswith(("head", "norm.", "fc_norm", "attn_pool")):
            assert depth == len(blocks) + 1, key
        elif ".downsample." in key:
            stage = key.split(".downsample.")[0]
            assert depth == depths[f"{stage}.blocks.0.attn.qkv.weight"], key
        else:
            assert depth == 0, key


def test_dropped_blocks_do_not_count() -> None:
    module = families.of("vit_tiny_patch16_224").adapt(timm_model("vit_tiny_patch16_224", 32))
    drop(module, "blocks.1")
    depths = layer_depths(module)
    assert depths["blocks.0.attn.qkv.weight"] == 1
    assert depths["blocks.2.attn.qkv.weight"] == 2
    assert depths["head.weight"] == 3


def test_frozen_parameters_are_left_out() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[0].requires_grad_(False)
    groups = make_optimiser(module, FinetuneSettings()).param_groups
    assert {id(p) for group in groups for p in group["params"]} == {
        id(p) for p in module[1].parameters()
    }


def test_learning_rate_rises_then_falls_along_a_cosine() -> None:
    settings = FinetuneSettings(lr=2.0, min_lr_share=0.1, warmup_share=0.1)
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[9] == max(rates) == 2.0
    assert rates[54] == pytest.approx(2.0 * (0.1 + 0.9 / 2))
    assert rates[-1] == pytest.approx(0.2)
    assert rates[9:] == sorted(rates[9:], reverse=True)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (1, 0.1), (1, 1.0), (3, 1.0), (2, 0.4)])
def test_learning_rate_of_short_runs_is_usable(steps: int, warmup: float) -> None:
    settings = FinetuneSettings(warmup_share=warmup)
    rates = torch.tensor([learning_rate(step, steps, settings) for step in range(steps)])
    assert bool((rates > 0).all())
    assert bool((rates <= settings.lr).all())
