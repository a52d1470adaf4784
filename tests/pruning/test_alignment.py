from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from models import CASES, IDS, images, timm_model
from test_reconstruct import Batches
from torch import nn

from edgeprune import families
from edgeprune.families.base import Family
from edgeprune.families.layers import drop
from edgeprune.pruning.alignment import align, unmoved
from edgeprune.pruning.graph import PruningGraph

WITH_BRANCHES = [
    (case, id_) for case, id_ in zip(CASES, IDS, strict=True) if "depths" not in case[2]
]
EVERY = pytest.mark.parametrize(
    ("name", "size", "extra"),
    [case for case, _ in WITH_BRANCHES],
    ids=[i for _, i in WITH_BRANCHES],
)


def _pair(name: str, size: int, extra: dict[str, Any]) -> tuple[Family, nn.Module, nn.Module]:
    """A family, a model to change and the same one to compare with."""
    family = families.of(name)
    model = family.adapt(timm_model(name, size, **extra))
    return family, model, copy.deepcopy(model)


def _stream(model: nn.Module, path: str, x: torch.Tensor) -> torch.Tensor:
    """What leaves the block at ``path``."""
    seen: list[torch.Tensor] = []
    handle = model.get_submodule(path).register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad():
        model(x)
    handle.remove()
    return seen[0]


@EVERY
def test_what_is_whole_stays_as_it_is(name: str, size: int, extra: dict[str, Any]) -> None:
    family, model, whole = _pair(name, size, extra)
    x = images(size)
    with torch.no_grad():
        before = model(x)
        align(model, whole, family, unmoved, Batches(x))  # type: ignore[arg-type]
        assert (model(x) - before).abs().max() <= 1e-4 * before.abs().max()


@EVERY
def test_the_stream_finds_back_to_its_course(name: str, size: int, extra: dict[str, Any]) -> None:
    """Every second neuron says what its neighbour says, and goes: the next layer can make up."""
    family, model, _ = _pair(name, size, extra)
    graph = PruningGraph(model, family, size)
    groups = [group for group in graph.groups if group.dims == ("mlp",)]
    parameters = dict(model.named_parameters())
    for member in (member for group in groups for member in graph.members(group)):
        if member.axis == 0:
            values = parameters[member.parameter].detach()
            odd = member.index[1::2]
            values[odd] = values[member.index[0::2][: len(odd)]]
    whole = copy.deepcopy(model)
    for group in groups:
        graph.cut(group, list(range(1, group.channels, 2)))
    graph.finish()
    last, x = family.trunk(model)[-1], images(size, 24)
    wanted, before = (_stream(part, last, x) for part in (whole, model))
    align(model, whole, family, unmoved, Batches(x))  # type: ignore[arg-type]
    after = _stream(model, last, x)
    assert (after - wanted).norm() < 0.2 * (before - wanted).norm()


def test_the_next_writer_makes_up_for_a_dropped_block() -> None:
    family, model, whole = _pair("vit_tiny_patch16_224", 48, {})
    drop(model, "blocks.1")
    x = images(48, 24)
    wanted, before = (_stream(part, "blocks.2", x) for part in (whole, model))
    align(model, whole, family, unmoved, Batches(x))  # type: ignore[arg-type]
    after = _stream(model, "blocks.2", x)
    assert (after - wanted).norm() < 0.9 * (before - wanted).norm()


def test_tokens_in_windows_are_left_alone() -> None:
    case = next(case for case in CASES if case[0].startswith("swin_"))
    family, model, whole = _pair(*case)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.9)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    align(model, whole, family, unmoved, Batches(images(case[1])))  # type: ignore[arg-type]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
