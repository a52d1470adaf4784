from __future__ import annotations

import re
from typing import Any

import pytest
import timm
import torch
from models import CASES, CLASSES, DEPTH, IDS, images, timm_model

from edgeprune import families
from edgeprune.errors import ModelError, UsageError
from edgeprune.families.layers import drop
from edgeprune.model import DenseOptions, create
from edgeprune.pruning import PruneSettings, prune
from edgeprune.pruning.graph import PruningGraph


@pytest.mark.parametrize(("name", "size", "extra"), CASES, ids=IDS)
def test_unpruned_adapter_gives_timms_logits(name: str, size: int, extra: dict[str, Any]) -> None:
    model = timm_model(name, size, **extra)
    x = images(size)
    with torch.no_grad():
        expected = model(x)
        found = families.of(name).adapt(model)(x)
    assert expected.std() > 0.01
    assert (found - expected).abs().max() <= 1e-5


@pytest.mark.parametrize(("name", "size", "extra"), CASES, ids=IDS)
def test_every_parameter_but_classifier_biases_can_be_pruned(
    name: str, size: int, extra: dict[str, Any]
) -> None:
    family = families.of(name)
    model = family.adapt(timm_model(name, size, **extra))
    graph = PruningGraph(model, family, size)
    reached = {m.parameter for group in graph.groups for m in graph.members(group)}
    left = {n for n, _ in model.named_parameters()} - reached
    shared = ("relative_position_bias_table", "q_norm.weight", "q_norm.bias")
    shared += ("k_norm.weight", "k_norm.bias")  # heads own columns of the one, none of the others
    shared += ("logit_scale", "positions.weight1", "positions.bias1", "positions.weight2")
    expected = {"head.bias", "head_dist.bias", "head.fc.bias"}
    if "attn_pool.proj.weight" in reached:  # what leaves the pool keeps its width
        expected |= {"attn_pool.proj.bias", "attn_pool.norm.weight", "attn_pool.norm.bias"}
        expected |= {"attn_pool.mlp.fc2.bias", "head.weight"}
    assert {n for n in left if not n.endswith(shared)} <= expected


@pytest.mark.parametrize(("name", "size", "extra"), CASES, ids=IDS)
def test_cutting_and_resizing_agree_on_every_shape(
    name: str, size: int, extra: dict[str, Any]
) -> None:
    family = families.of(name)
    model = family.adapt(timm_model(name, size, **extra))
    graph = PruningGraph(model, family, size)
    for group in graph.groups:
        width = group.channels // max(group.heads, 1)
        if group.heads:  # the first head goes, and odd dims of the others where they can
            thin = "head_dim" in group.dims
            gone = [c for c in range(group.channels) if c < width or (thin and c % 2)]
        else:
            gone = list(range(0, group.channels, 3))
        graph.cut(group, gone)
    graph.finish()
    widths = {(w.name, w.dim): w.width for w in family.widths(model)}

    other = family.adapt(timm_model(name, size, **extra))
    family.resize(other, widths)
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    assert {key: tensor.shape for key, tensor in other.state_dict().items()} == shapes
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(images(size)), other(images(size)))


def test_pruned_channels_are_the_ones_that_go() -> None:
    """Cutting an MLP neuron equals silencing it, cutting a head equals silencing its output."""
    name, size = "beit_base_patch16_224", 48
    family = families.of(name)
    silenced = family.adapt(timm_model(name, size))
    cut = family.adapt(timm_model(name, size))
    graph = PruningGraph(cut, family, size)
    by_name = {group.name: group for group in graph.groups}
    graph.cut(by_name["blocks.1.mlp"], [0, 7, 100])
    head_dim = 64
    graph.cut(by_name["blocks.2.attn"], [*range(head_dim, 2 * head_dim)])
    graph.finish()
    with torch.no_grad():
        silenced.blocks[1].mlp.fc2.weight[:, [0, 7, 100]] = 0
        silenced.blocks[2].attn.proj.weight[:, head_dim : 2 * head_dim] = 0
        assert (cut(images(size)) - silenced(images(size))).abs().max() <= 1e-5
    assert cut.blocks[2].attn.mix.heads == 11
    assert cut.blocks[2].attn.mix.relative_position_bias_table.shape[1] == 11


@pytest.mark.parametrize(("name", "size", "extra"), CASES, ids=IDS)
def test_a_dropped_block_is_gone_from_every_list(
    name: str, size: int, extra: dict[str, Any]
) -> None:
    family = families.of(name)
    model = family.adapt(timm_model(name, size, **extra))
    before = family.blocks(model)
    drop(model, before[1])
    assert family.blocks(model) == [before[0], *before[2:]]
    assert before[1] not in family.trunk(model)
    widths = {(w.name, w.dim): w.width for w in family.widths(model)}
    assert not any(layer.startswith(f"{before[1]}.") for layer, _ in widths)
    assert len(PruningGraph(model, family, size).groups) == len(family.groups(model))

    other = family.adapt(timm_model(name, size, **extra))
    family.resize(other, widths)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(images(size)), other(images(size)))


def test_families_are_told_apart() -> None:
    found = {name: families.of(name).name for name, _, _ in CASES}
    assert found["deit_tiny_distilled_patch16_224"] == "deit"
    assert found["vit_tiny_patch16_224"] == "vit"
    assert found["vit_small_patch16_dinov3"] == "eva"
    assert found["beitv2_base_patch16_224"] == "beit"


@pytest.mark.parametrize(
    "name",
    ["resnet18", "swinv2_cr_tiny_224"],
)
def test_other_architectures_are_refused_by_name(name: str) -> None:
    with pytest.raises(ModelError, match=r"supported: beit, deit, eva, .*vit"):
        families.of(name)


@pytest.mark.parametrize(
    ("name", "extra", "part"),
    [
        ("aimv2_large_patch14_224", {}, "'norm'"),
        ("vit_base_patch16_xp_224", {}, "ParallelScalingBlock"),
        ("vit_base_patch16_rpn_224", {}, "ResPostBlock"),
        ("vit_dwee_patch16_reg1_gap_256", {}, "DiffAttention"),
        ("test_vit4", {}, "RmsNorm"),
        ("vit_tiny_patch16_224", {"global_pool": "prr"}, "'prr'"),
        ("vit_tiny_patch16_224", {"patch_drop_rate": 0.5}, "'patch_drop'"),
        ("eva02_enormous_patch14_clip_224", {}, "EvaBlockPostNorm"),
        ("vit_small_patch16_rope_mixed_224", {}, "RotaryEmbeddingMixed"),
        ("vit_base_patch16_sapiens2", {"num_kv_heads": 2}, "share keys"),
    ],
)
def test_unsupported_parts_are_refused_by_name(name: str, extra: dict[str, Any], part: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=CLASSES, depth=DEPTH, **extra)
    with pytest.raises(ModelError, match=part):
        families.of(name).adapt(model)


def test_a_refused_model_is_named_with_the_supported_families() -> None:
    with pytest.raises(ModelError, match=r"'test_vit4' cannot be pruned: .*RmsNorm") as caught:
        create("test_vit4", DenseOptions(num_classes=CLASSES, pretrained=False))
    assert re.search("beit, deit, eva, .*vit", str(caught.value.hint))


def test_dims_that_heads_share_cannot_be_pruned_alone() -> None:
    options = DenseOptions(num_classes=CLASSES, img_size=28, pretrained=False)
    model = create("eva02_tiny_patch14_224", options)
    assert {width.dim for width in model.record.widths} == {"embed", "heads", "mlp"}
    refused = r"head_dim cannot be pruned here; .* has embed, heads, mlp"
    with pytest.raises(UsageError, match=refused):
        prune(model, PruneSettings(dims=("head_dim",)))
    beside = prune(model, PruneSettings(dims=("head_dim", "mlp"))).result
    assert "head_dim: cannot be pruned here" in beside.warnings[0]


def test_tied_dims_are_never_cut() -> None:
    name, size = "eva02_tiny_patch14_224", 28
    family = families.of(name)
    model = family.adapt(timm_model(name, size))
    graph = PruningGraph(model, family, size)
    heads = next(group for group in graph.groups if group.heads)
    with pytest.raises(ValueError, match="dims that heads share"):
        graph.cut(heads, range(0, heads.channels, 2))


def test_rotary_positions_survive_a_rebuild() -> None:
    """They are not stored: a model made on the meta device must have them all the same."""
    for name, size in (("eva02_tiny_patch14_224", 42), ("vit_small_patch16_dinov3", 48)):
        extra = {"num_classes": CLASSES, "img_size": size, "depth": 1}
        model = timm.create_model(name, **extra).eval()
        tokens = model._pos_embed(model.patch_embed(images(size, 1)))[1]
        with torch.device("meta"):
            on_meta = timm.create_model(name, **extra)
        table = families.of(name).adapt(on_meta).rope.get_embed()
        assert torch.equal(table[model.num_prefix_tokens :], tokens)
