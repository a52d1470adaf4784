"""What only families with windows and stages have; the rest is tested for every family."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from models import CLASSES, STAGES, images, timm_model
from safetensors.torch import save_file

from edgeprune import families
from edgeprune.errors import ModelError
from edgeprune.families.layers import drop
from edgeprune.model import DenseOptions, create, rebuild
from edgeprune.pruning import PruneSettings, prune
from edgeprune.pruning.graph import PruningGraph

SWIN, SWIN_V2 = "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"
BOTH = pytest.mark.parametrize("name", [SWIN, SWIN_V2])


def _adapted(name: str, size: int = 36) -> Any:
    return families.of(name).adapt(timm_model(name, size, **STAGES))


def _graph(name: str, model: Any, size: int = 36) -> tuple[PruningGraph, dict[str, Any]]:
    graph = PruningGraph(model, families.of(name), size)
    return graph, {group.name: group for group in graph.groups}


@pytest.mark.parametrize(
    ("name", "size", "more", "windows"),
    [
        (SWIN, 64, {"window_size": 4}, [16, 16, 4, 4]),  # every window full
        (SWIN, 96, {}, [16, 16, 4, 4]),  # windows of 7 on grids of 24 and 12: filled up
        (SWIN, 28, {}, [1, 1, 1, 1]),  # one window is the whole grid, then more than it
        (SWIN, 64, {"window_size": 4, "head_dim": 24}, [16, 16, 4, 4]),
        ("swin_s3_tiny_224", 64, {"window_size": (4, 7)}, [12, 12, 4, 4]),
        (SWIN_V2, 64, {}, [4, 4, 1, 1]),
        (SWIN_V2, 40, {"window_size": 3}, [16, 16, 4, 4]),
        ("swinv2_base_window12to16_192to256", 64, {"window_size": 4}, [16, 16, 4, 4]),
    ],
)
def test_every_kind_of_window_gives_timms_logits(
    name: str, size: int, more: dict[str, Any], windows: list[int]
) -> None:
    model: Any = timm_model(name, size, **STAGES, **more)
    x = images(size)
    with torch.no_grad():
        expected = model(x)
        family = families.of(name)
        found = family.adapt(model)(x)
    assert [model.get_submodule(path).attn.mix.windows for path in family.blocks(model)] == windows
    assert expected.std() > 0.01
    assert (found - expected).abs().max() <= 1e-5


@BOTH
def test_cut_neurons_and_heads_are_the_ones_that_go(name: str) -> None:
    silenced, cut = _adapted(name), _adapted(name)
    graph, by_name = _graph(name, cut)
    graph.cut(by_name["layers.0.blocks.1.mlp"], [0, 7, 100])
    graph.cut(by_name["layers.1.blocks.0.attn"], [*range(16), *range(32, 48)])
    graph.finish()
    with torch.no_grad():
        silenced.layers[0].blocks[1].mlp.fc2.weight[:, [0, 7, 100]] = 0
        silenced.layers[1].blocks[0].attn.proj.weight[:, :16] = 0
        silenced.layers[1].blocks[0].attn.proj.weight[:, 32:48] = 0
        assert (cut(images(36)) - silenced(images(36))).abs().max() <= 1e-5
    mix = cut.layers[1].blocks[0].attn.mix
    assert (mix.heads, mix.head_dim) == (2, 16)


@BOTH
def test_a_cut_channel_goes_from_all_four_neighbours(name: str) -> None:
    dense, cut = _adapted(name), _adapted(name)
    graph, by_name = _graph(name, cut)
    gone = [0, 5, 31]
    stay = torch.tensor([channel for channel in range(32) if channel not in gone])
    graph.cut(by_name["layers.0.embed"], gone)
    graph.finish()
    merge: Any = dense.layers[1].downsample
    x = images(8, 2).repeat(1, 11, 1, 1)[:, :32].movedim(1, -1)
    columns = torch.cat([stay + 32 * part for part in range(4)])
    with torch.no_grad():
        merged = merge.gather(x)[..., columns]
        if name == SWIN:
            weight, bias = merge.norm.weight[columns], merge.norm.bias[columns]
            merged = F.layer_norm(merged, (len(columns),), weight, bias)
            expected = merged @ merge.reduction.weight[:, columns].T
        else:
            expected = merge.norm(merged @ merge.reduction.weight[:, columns].T)
        found = cut.layers[1].downsample(x[..., stay])
    assert (found - expected).abs().max() <= 1e-5


@BOTH
def test_a_channel_is_scored_by_all_that_goes_with_it(name: str) -> None:
    """What a score adds up is what a cut takes: counted by cutting one channel at a time."""
    model = _adapted(name)
    graph, _ = _graph(name, model)
    for group in graph.groups:
        if group.heads:
            continue
        marked = copy.deepcopy(model)
        values = {key: torch.zeros_like(p) for key, p in marked.named_parameters()}
        for member in graph.members(group):
            values[member.parameter].index_fill_(member.axis, member.index[[3]], 1.0)
        with torch.no_grad():
            for key, parameter in marked.named_parameters():
                parameter.copy_(values[key])
        marked_graph, by_name = _graph(name, marked)
        marked_graph.cut(by_name[group.name], [3])
        assert all(not parameter.any() for parameter in marked.parameters()), group.name
        assert sum(int(value.sum()) for value in values.values()) == sum(
            p.numel() for p in model.parameters()
        ) - sum(p.numel() for p in marked.parameters())


@BOTH
def test_stages_have_widths_of_their_own(name: str) -> None:
    """The second stage may be narrower than the first; what timm derives from widths follows."""
    family = families.of(name)
    model = _adapted(name)
    widths = {(width.name, width.dim): width.width for width in family.widths(model)}
    widths["layers.0.embed", "embed"], widths["layers.1.embed", "embed"] = 24, 16
    family.resize(model, widths)
    assert [info["num_chs"] for info in model.feature_info] == [24, 16]
    assert (model.embed_dim, model.num_features, model.head_hidden_size) == (24, 16, 16)
    assert (model.head.in_features, model.head.fc.in_features) == (16, 16)
    assert [block.dim for block in model.layers[0].blocks] == [24, 24]
    assert model(images(36)).shape == (4, CLASSES)


@BOTH
def test_the_trunk_is_what_runs_on_the_streams(name: str) -> None:
    family = families.of(name)
    model = _adapted(name)
    drop(model, "layers.0.blocks.1")
    trunk = family.trunk(model)
    assert trunk == [
        "layers.0.blocks.0",
        "layers.1.downsample",
        "layers.1.blocks.0",
        "layers.1.blocks.1",
    ]
    assert family.streams(model) == []
    with torch.no_grad():
        x = model.patch_embed(images(36))
        for path in trunk:
            x = model.get_submodule(path)(x)
        assert torch.equal(model.head(model.norm(x)), model(images(36)))


@BOTH
def test_what_is_derived_is_there_after_rebuilding(name: str) -> None:
    record = create(name, DenseOptions(num_classes=3, img_size=64, pretrained=False)).record
    assert record.img_size == 64
    module = rebuild(record)
    assert all(parameter.is_meta for parameter in module.parameters())
    buffers = dict(module.named_buffers())
    assert any(key.endswith("attn_mask") for key in buffers)
    assert not any(tensor.is_meta for tensor in buffers.values())


@BOTH
def test_weights_without_a_classifier_can_be_loaded(name: str, tmp_path: Path) -> None:
    dense = timm.create_model(name, num_classes=7, img_size=32)
    state = {key: tensor for key, tensor in dense.state_dict().items() if "head" not in key}
    save_file(
        {key: tensor.contiguous() for key, tensor in state.items()}, tmp_path / "w.safetensors"
    )
    options = DenseOptions(
        num_classes=3, img_size=32, pretrained=False, weights=tmp_path / "w.safetensors"
    )
    module: Any = create(name, options).module
    assert torch.equal(module.patch_embed.proj.weight, dense.patch_embed.proj.weight)
    assert module.head.fc.out_features == 3


@BOTH
@pytest.mark.parametrize("budget", ["channels", "macs"])
def test_no_stage_loses_all_to_a_wider_one(name: str, budget: str) -> None:
    """A wider stage has more weights to a channel; its channels are not worth more for that."""
    model = create(name, DenseOptions(num_classes=10, pretrained=False))
    ratio = 0.5 if budget == "channels" else 0.74
    for layer in prune(model, PruneSettings(ratio=ratio, budget=budget)).result.layers:
        if layer.dim == "embed":
            assert 0.35 <= layer.after / layer.before <= 0.65


def test_dims_that_share_the_length_of_a_vector_cannot_go() -> None:
    model = _adapted(SWIN_V2)
    graph, by_name = _graph(SWIN_V2, model)
    assert by_name["layers.0.blocks.0.attn"].dims == ("heads",)
    with pytest.raises(ValueError, match="cannot be cut"):
        graph.cut(by_name["layers.0.blocks.0.attn"], [3, 19])


@pytest.mark.parametrize(
    ("name", "more", "part"),
    [
        (SWIN, {"dynamic_img_size": True}, "images of any size"),
        (SWIN_V2, {"dynamic_img_size": True}, "images of any size"),
        (SWIN_V2, {"global_pool": "max"}, "pooling 'max'"),
        (SWIN, {"norm_layer": torch.nn.RMSNorm}, "RMSNorm"),
    ],
)
def test_unsupported_parts_are_named(name: str, more: dict[str, Any], part: str) -> None:
    model = timm.create_model(name, img_size=32, **STAGES, **more)
    with pytest.raises(ModelError, match=part):
        families.of(name).adapt(model)
