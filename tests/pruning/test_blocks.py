from __future__ import annotations

from pathlib import Path

import pytest
import torch
from models import images

from edgeprune import artifact
from edgeprune.errors import PlanError
from edgeprune.families import ChannelGroup
from edgeprune.families.layers import Dropped
from edgeprune.model import DenseOptions, Model, create
from edgeprune.pruning import PruneSettings, prune
from edgeprune.pruning.units import BLOCKS, block_units

NAME, SIZE = "vit_tiny_patch16_224", 32


def _dense() -> Model:
    return create(NAME, DenseOptions(num_classes=4, img_size=SIZE, pretrained=False))


def _left(model: Model) -> list[int]:
    return [i for i, block in enumerate(model.module.blocks) if not isinstance(block, Dropped)]


def test_the_ratio_of_the_blocks_goes_and_the_rest_is_untouched(tmp_path: Path) -> None:
    dense = _dense()
    weight = dense.module.blocks[0].mlp.fc1.weight
    pruned = prune(dense, PruneSettings(ratio=0.25, dims=("blocks",)))
    gone = [layer.name for layer in pruned.result.layers if layer.after == 0]
    assert len(gone) == 3
    assert {layer.dim for layer in pruned.result.layers if layer.name in gone} == {BLOCKS}
    assert [f"blocks.{i}" for i in range(12) if i not in _left(pruned.model)] == gone
    assert not [
        w
        for w in pruned.model.record.widths
        if w.name.startswith(tuple(f"{path}." for path in gone))
    ]
    assert all(x.before == x.after for x in pruned.result.layers if x.dim != BLOCKS)
    if 0 in _left(pruned.model):
        assert pruned.model.module.blocks[0].mlp.fc1.weight.data_ptr() == weight.data_ptr()
    artifact.save(pruned.model, tmp_path / "a")
    loaded = artifact.load(tmp_path / "a")
    assert _left(loaded) == _left(pruned.model)
    with torch.no_grad():
        assert torch.equal(loaded.module(images(SIZE)), pruned.model.module(images(SIZE)))


def test_blocks_of_little_weight_go_first() -> None:
    dense = _dense()
    with torch.no_grad():
        for index in (2, 7):
            for parameter in dense.module.blocks[index].parameters():
                parameter.mul_(0.01)
    pruned = prune(dense, PruneSettings(ratio=0.17, dims=("blocks",))).model
    assert _left(pruned) == [i for i in range(12) if i not in (2, 7)]


@pytest.mark.parametrize("budget", ["params", "macs"])
def test_blocks_compete_with_widths_for_a_budget(budget: str) -> None:
    dense = _dense()
    with torch.no_grad():
        for parameter in dense.module.blocks[5].parameters():
            parameter.mul_(0.01)
    chosen = PruneSettings(ratio=0.3, budget=budget, dims=("mlp", "blocks"))
    pruned = prune(dense, chosen)
    assert 5 not in _left(pruned.model)
    result = pruned.result
    reached = getattr(result.pruned, budget) / getattr(result.dense, budget)
    assert reached == pytest.approx(0.7, rel=0.01)
    assert any(x.dim == "mlp" and x.after < x.before for x in result.layers)


def test_one_block_of_every_stage_stays_and_rounds_count_what_is_gone() -> None:
    pruned = prune(_dense(), PruneSettings(ratio=0.97, dims=("blocks",)))
    assert len(_left(pruned.model)) == 1
    assert "blocks: 8.3% of them stay" in pruned.result.warnings[0]
    twice = prune(_dense(), PruneSettings(ratio=0.5, dims=("blocks", "mlp"), steps=2))
    assert len(_left(twice.model)) == 6
    with pytest.raises(PlanError, match="least reachable"):
        prune(_dense(), PruneSettings(ratio=0.95, budget="macs", dims=("blocks",)))


def test_a_stage_keeps_its_best_block() -> None:
    paths = ["layers.0.blocks.0", "layers.0.blocks.1", "layers.1.blocks.0"]
    groups = [ChannelGroup(f"{path}.mlp", "", 2, ("mlp",)) for path in paths]
    scores = {g.name: torch.tensor([1.0 + i, 1.0]) for i, g in enumerate(groups)}
    units = block_units(paths, groups, scores, dict.fromkeys(paths, 1.0))
    assert [unit.floor for unit in units] == [0, 1, 1]


def test_a_model_with_dropped_blocks_can_be_pruned_again(tmp_path: Path) -> None:
    once = prune(_dense(), PruneSettings(ratio=0.5, dims=("blocks",))).model
    artifact.save(once, tmp_path / "once")
    again = prune(
        artifact.load(tmp_path / "once"), PruneSettings(ratio=0.5, dims=("blocks", "embed"))
    )
    assert len(_left(again.model)) == 3
    assert torch.isfinite(again.model.module(images(SIZE))).all()
