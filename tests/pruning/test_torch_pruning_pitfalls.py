"""Pitfalls of torch-pruning 1.6: that each is real, and that edgeprune does not fall into it.

The table in docs/pruning.md names these tests.
"""

from __future__ import annotations

import copy
import gc
import inspect
import weakref
from functools import cache
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torch_pruning as tp
from models import CASES, CLASSES, IDS, ONE_OF_EACH, images, made_small
from torch import nn

from edgeprune import families
from edgeprune.costs import count
from edgeprune.environment import version_of
from edgeprune.families.attention import HeadMixer
from edgeprune.model import DenseOptions, Model, create, rebuild
from edgeprune.pruning import Pruned, PruneSettings, prune
from edgeprune.pruning.fisher import mean_squared_gradients
from edgeprune.pruning.units import FLOORS

pytestmark = pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")

VERSION = version_of("torch-pruning")
theirs = pytest.mark.skipif(
    not str(VERSION).startswith("1.6."),
    reason=f"describes torch-pruning 1.6, not {VERSION}",
)

RATIOS = pytest.mark.parametrize("ratio", [0.5, 0.75, 0.9, 0.95])
FAMILIES = pytest.mark.parametrize("name", ONE_OF_EACH)
DEPTH = 4
SIZE = 32
IMAGE = images(SIZE, 1)


def _timm(name: str = "vit_tiny_patch16_224", **more: Any) -> Any:
    torch.manual_seed(0)
    arguments = {"num_classes": CLASSES, "img_size": SIZE, "depth": DEPTH, **more}
    return timm.create_model(name, **arguments).eval()


def _their_pruner(model: Any, **chosen: Any) -> Any:
    """torch-pruning as its ViT example sets it up, but with registries of its own."""
    options = {
        "importance": tp.importance.GroupMagnitudeImportance(p=2),
        "num_heads": {block.attn.qkv: block.attn.num_heads for block in model.blocks},
        "ignored_layers": [model.head],
        "in_channel_groups": {},
        "out_channel_groups": {},
        **chosen,
    }
    return tp.pruner.BasePruner(model, IMAGE, **options)


def _head_dims(model: Any) -> list[float]:
    return [block.attn.qkv.out_features / 3 / block.attn.num_heads for block in model.blocks]


@cache
def _case(name: str) -> Model:
    _, size, extra = CASES[IDS.index(name)]
    with made_small(extra, DEPTH):
        torch.manual_seed(0)
        return create(name, DenseOptions(num_classes=CLASSES, img_size=size, pretrained=False))


def _dense(name: str) -> Model:
    model = _case(name)
    return Model(copy.deepcopy(model.module), model.record)


def _uneven(model: Model) -> Model:
    """Make every block's weights larger than those before, so that layers fare unequally."""
    for index, path in enumerate(families.of(model.record.model).blocks(model.module)):
        with torch.no_grad():
            for parameter in model.module.get_submodule(path).parameters():
                parameter.mul_(1 + index)
    return model


def _pruned(model: Model, **chosen: Any) -> Pruned:
    """Prune by magnitude in one global ranking; check what must always hold."""
    _, size, extra = CASES[IDS.index(model.record.model)]
    before = {(w.name, w.dim) for w in model.record.widths}
    with made_small(extra, DEPTH):
        pruned = prune(model, PruneSettings(**{"metric": "l1", **chosen}))
        rebuilt = rebuild(pruned.model.record)
    rebuilt.load_state_dict(pruned.model.module.state_dict(), assign=True)
    with torch.no_grad():
        logits = pruned.model.module(images(size))
        assert torch.isfinite(logits).all()
        assert torch.equal(rebuilt.eval()(images(size)), logits)
    assert {(layer.name, layer.dim) for layer in pruned.result.layers} == before
    _check_heads(pruned)
    return pruned


def _check_heads(pruned: Pruned) -> None:
    """The head counts that are reported, computed with, and seen in the weights are one."""
    after = {(x.name, x.dim): x.after for x in pruned.result.layers}
    module = pruned.model.module
    for path, mix in module.named_modules():
        if not isinstance(mix, HeadMixer):
            continue
        attention: Any = module.get_submodule(path.rpartition(".")[0])
        assert attention.qkv.weight.shape[0] == 3 * mix.heads * mix.head_dim
        assert attention.proj.weight.shape[1] == mix.heads * mix.head_dim
        assert after[path.rpartition(".")[0], "heads"] == mix.heads
        table = mix.relative_position_bias_table
        assert table is None or table.shape[1] == mix.heads


def _floor(dim: str, before: int, max_ratio: float = 1.0) -> float:
    return max(min(FLOORS[dim], before), before * (1 - max_ratio) - 1e-6)


@FAMILIES
@RATIOS
def test_one_shot_global_pruning_skips_no_layer_in_silence(name: str, ratio: float) -> None:
    result = _pruned(_uneven(_dense(name)), ratio=ratio).result
    for dim in ("embed", "mlp", "heads"):
        layers = [layer for layer in result.layers if layer.dim == dim]
        before, after = sum(x.before for x in layers), sum(x.after for x in layers)
        assert after < before
        assert all(x.after >= _floor(dim, x.before) for x in layers)
        said = any(note.startswith(dim) for note in result.warnings)
        assert said or abs(after / before - (1 - ratio)) <= 0.01


@theirs
def test_theirs_sees_one_image_only() -> None:
    """GroupHessianImportance: every image overwrites the last."""
    model, x, y = _timm(depth=1), images(SIZE, 3), torch.arange(3)
    importance = tp.importance.GroupHessianImportance()
    importance.zero_grad()
    each = []
    for loss in F.cross_entropy(model(x), y, reduction="none"):
        model.zero_grad()
        loss.backward(retain_graph=True)
        importance.accumulate_grad(model)
        each.append(model.blocks[0].mlp.fc1.weight.grad.square())
    accumulated = importance._accu_grad[model.blocks[0].mlp.fc1.weight]
    assert torch.allclose(accumulated, each[-1])
    assert not torch.allclose(accumulated, torch.stack(each).sum(0), rtol=0.1)


def test_ours_sees_every_image() -> None:
    """Against torch.func on every parameter: tests/pruning/test_fisher.py."""
    model, x, y = _case("vit_tiny_patch16_224").module, images(48, 3), torch.arange(3)
    together = mean_squared_gradients(model, [(x, y)])
    alone = [mean_squared_gradients(model, [(x[i : i + 1], y[i : i + 1])]) for i in range(3)]
    for key, found in together.items():
        mean = torch.stack([one[key] for one in alone]).mean(0)
        assert (found - mean).norm() <= 1e-4 * mean.norm() + 1e-12


@theirs
@pytest.mark.parametrize("whole_heads", [True, False])
def test_theirs_leaves_attention_of_beit_as_it_was(whole_heads: bool) -> None:
    """timm multiplies by the weight of qkv without calling the layer, so no graph sees it.

    The embedding, which that weight reads, stays as well; nothing is said.
    """
    model = _timm("beit_base_patch16_224")
    pruner = _their_pruner(
        model,
        prune_num_heads=whole_heads,
        prune_head_dims=not whole_heads,
        head_pruning_ratio=0.5 * whole_heads,
    )
    pruner.step()
    assert model(IMAGE).shape == (1, CLASSES)
    for block in model.blocks:
        assert pruner.num_heads[block.attn.qkv] == 12
        assert block.attn.qkv.weight.shape == (3 * 768, 768)
        assert block.attn.proj.weight.shape == (768, 768)
        assert block.mlp.fc1.out_features == 1536


@theirs
@pytest.mark.parametrize("whole_heads", [True, False])
def test_theirs_breaks_beit_where_the_graph_sees_its_attention(whole_heads: bool) -> None:
    """Without biases timm calls the layer. Then the forward pass fails: the table of position
    biases keeps all heads, and the output is reshaped to the width of the embedding.
    """
    model = _timm("beit_base_patch16_224", qkv_bias=False)
    pruner = _their_pruner(
        model,
        prune_num_heads=whole_heads,
        prune_head_dims=not whole_heads,
        head_pruning_ratio=0.5 * whole_heads,
    )
    pruner.step()
    for block in model.blocks:
        block.attn.num_heads = pruner.num_heads[block.attn.qkv]
        assert block.attn.qkv.out_features == 3 * 768
    with pytest.raises(RuntimeError):
        model(IMAGE)


@RATIOS
def test_ours_prunes_heads_and_head_dims_of_beit(ratio: float) -> None:
    dims = ("embed", "heads", "head_dim")
    result = _pruned(_dense("beit_base_patch16_224"), ratio=ratio, dims=dims).result
    for dim in dims:
        layers = [layer for layer in result.layers if layer.dim == dim]
        assert sum(x.after for x in layers) < sum(x.before for x in layers)


@theirs
def test_theirs_leaks_from_one_pruner_into_the_next() -> None:
    """Dicts that are default arguments are the same in every call."""
    default = inspect.signature(tp.pruner.BasePruner).parameters["out_channel_groups"].default
    score = tp.importance.GroupMagnitudeImportance(p=2)
    try:
        first = _timm()
        heads = {block.attn.qkv: block.attn.num_heads for block in first.blocks}
        tp.pruner.BasePruner(first, IMAGE, score, num_heads=heads)
        second = tp.pruner.BasePruner(_timm(), IMAGE, score)
        assert second.out_channel_groups is default
        assert set(second.out_channel_groups) == set(heads)
        alive = weakref.ref(first.blocks[0].attn.qkv)
        del first, heads
        gc.collect()
        assert alive() is not None
    finally:
        default.clear()


@RATIOS
def test_ours_leaks_nothing_from_one_pruning_into_the_next(ratio: float) -> None:
    defaults = [
        parameter.default
        for parameter in inspect.signature(tp.pruner.BasePruner).parameters.values()
        if isinstance(parameter.default, dict)
    ]
    alone = _pruned(_dense("vit_tiny_patch16_224"), ratio=ratio).model.module.state_dict()
    other = _pruned(_dense("beit_base_patch16_224"), ratio=ratio)
    alive = weakref.ref(other.model.module.get_submodule("blocks.0"))
    del other
    gc.collect()
    assert alive() is None
    again = _pruned(_dense("vit_tiny_patch16_224"), ratio=ratio).model.module.state_dict()
    assert alone.keys() == again.keys()
    assert all(torch.equal(alone[key], again[key]) for key in alone)
    assert defaults
    assert not any(defaults)


@theirs
@pytest.mark.parametrize("ratio", [0.75, 0.9, 0.95])
def test_theirs_prunes_more_than_the_maximum(ratio: float) -> None:
    """max_pruning_ratio is compared with the widths before, not after, a global step."""
    model = _timm()
    _their_pruner(model, pruning_ratio=ratio, global_pruning=True, max_pruning_ratio=0.6).step()
    assert min(block.mlp.fc1.out_features for block in model.blocks) < 0.4 * 768


@FAMILIES
@RATIOS
def test_ours_holds_the_maximum(name: str, ratio: float) -> None:
    result = _pruned(_uneven(_dense(name)), ratio=ratio, max_ratio=0.6).result
    for layer in result.layers:
        assert layer.after >= _floor(layer.dim, layer.before, 0.6)
    if ratio > 0.6:  # that less went than was asked is said
        assert all(any(n.startswith(dim) for n in result.warnings) for dim in ("embed", "mlp"))


@theirs
def test_theirs_skips_a_layer_that_matters_little() -> None:
    """All or nothing: what falls wholly under the threshold stays, and its heads are miscounted."""
    model = _timm()
    least = model.blocks[1]
    with torch.no_grad():
        for layer in (least.attn.qkv, least.attn.proj, least.mlp.fc1, least.mlp.fc2):
            layer.weight.mul_(0.01)
    pruner = _their_pruner(
        model,
        importance=tp.importance.GroupMagnitudeImportance(p=2, normalizer=None),
        global_pruning=True,
        prune_num_heads=True,
        prune_head_dims=False,
        head_pruning_ratio=0.5,
    )
    pruner.step()
    assert least.mlp.fc1.out_features == 768
    assert least.attn.qkv.out_features == 3 * 192
    assert pruner.num_heads[least.attn.qkv] == 0
    assert min(b.mlp.fc1.out_features for b in model.blocks) < 768


@FAMILIES
@RATIOS
def test_ours_takes_a_layer_that_matters_little_to_its_floor(name: str, ratio: float) -> None:
    model = _dense(name)
    path = families.of(name).blocks(model.module)[1]
    with torch.no_grad():
        for parameter in model.module.get_submodule(path).parameters():
            parameter.mul_(0.01)
    after = {(x.name, x.dim): x.after for x in _pruned(model, ratio=ratio).result.layers}
    assert after[f"{path}.mlp", "mlp"] == FLOORS["mlp"]
    assert after[f"{path}.attn", "heads"] == FLOORS["heads"]


@theirs
@pytest.mark.parametrize("global_", [True, False])
def test_theirs_is_isomorphic_only_if_also_global(global_: bool) -> None:
    """Otherwise one ranking's places are taken for every layer's channels; most are then left."""
    model = _timm()
    _their_pruner(model, isomorphic=True, global_pruning=global_).step()
    pruned = [block.mlp.fc1.out_features < 768 for block in model.blocks]
    assert pruned == [global_] * DEPTH
    assert [block.attn.qkv.out_features < 3 * 192 for block in model.blocks] == pruned
    assert model.patch_embed.proj.out_channels == 96


@RATIOS
@pytest.mark.parametrize("scope", ["isomorphic", "local"])
def test_ours_prunes_every_kind_in_every_scope(scope: str, ratio: float) -> None:
    dims = ("embed", "heads", "head_dim", "mlp")
    result = _pruned(_dense("vit_tiny_patch16_224"), ratio=ratio, scope=scope, dims=dims).result
    for dim in dims:
        layers = [layer for layer in result.layers if layer.dim == dim]
        assert sum(x.after for x in layers) < sum(x.before for x in layers)


@theirs
@pytest.mark.parametrize(("embed", "heads", "step"), [(144, 4, 8), (192, 3, 64)])
def test_theirs_does_not_round_heads(embed: int, heads: int, step: int) -> None:
    """round_to floors the width of the layer: heads get 20 dims, or lose all and are skipped."""
    model = _timm(embed_dim=embed, num_heads=heads)
    _their_pruner(model, pruning_ratio=0.3, round_to=step).step()
    expected = 20 if step == 8 else 64
    assert _head_dims(model) == [expected] * DEPTH
    assert model.patch_embed.proj.out_channels % step == 0


@RATIOS
def test_ours_rounds_each_head(ratio: float) -> None:
    extra = {"embed_dim": 144, "num_heads": 4}
    with made_small(extra, DEPTH):
        options = DenseOptions(num_classes=CLASSES, img_size=SIZE, pretrained=False)
        model = create("vit_tiny_patch16_224", options)
        dims = ("embed", "head_dim", "mlp")
        layers = prune(model, PruneSettings(ratio=ratio, dims=dims)).result.layers
    for layer in layers:
        if layer.dim in dims:
            assert layer.after < layer.before
            assert layer.after % 8 == 0


@theirs
def test_theirs_does_not_count_attention_of_beit() -> None:
    """Neither the packed projection nor the two products of tokens."""
    extra = {"embed_dim": 192, "num_heads": 3}
    found, _ = tp.utils.count_ops_and_params(_timm("beit_base_patch16_224", **extra), IMAGE)
    adapted = families.of("beit_base_patch16_224").adapt(_timm("beit_base_patch16_224", **extra))
    tokens, width = 5, 192
    missed = DEPTH * (3 * tokens * width**2 + 2 * tokens**2 * width)
    assert count(adapted, SIZE).macs - found == pytest.approx(missed, rel=0.02)


def test_ours_counts_attention_alike_in_every_family() -> None:
    """A ViT and a BEiT of one shape differ in biases and scales alone, which are no products."""
    extra = {"embed_dim": 192, "num_heads": 3}
    macs = {
        count(families.of(name).adapt(_timm(name, **extra)), SIZE).macs
        for name in ("vit_tiny_patch16_224", "beit_base_patch16_224")
    }
    assert len(macs) == 1


def test_ours_keeps_the_scale_of_thinned_heads() -> None:
    """torch-pruning's example script never looks at it; timm derives it from the head size."""
    model = _dense("vit_tiny_patch16_224")
    scale = model.module.get_submodule("blocks.0.attn.mix").scale
    thin = _pruned(model, dims=("head_dim",)).model.module.get_submodule("blocks.0.attn.mix")
    assert isinstance(thin, nn.Module)
    assert (thin.head_dim, thin.scale) == (32, scale)
