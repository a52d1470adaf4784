from __future__ import annotations

from typing import Any

import pytest
import torch
from models import CASES, IDS, ONE_OF_EACH, images, single_logits, timm_model
from timm.layers.drop import DropPath

from edgeprune import families
from edgeprune.families.layers import drop
from edgeprune.training.stochastic_depth import set_drop_path

EACH = [case for case in CASES if case[0] in ONE_OF_EACH and "qk_norm" not in case[2]]


def _adapted(name: str, size: int, extra: dict[str, Any]) -> tuple[families.Family, Any]:
    family = families.of(name)
    return family, family.adapt(timm_model(name, size, **extra))


@pytest.mark.parametrize(("name", "size", "extra"), CASES, ids=IDS)
def test_every_branch_can_be_left_out_and_is_not_in_evaluation(
    name: str, size: int, extra: dict[str, Any]
) -> None:
    family, module = _adapted(name, size, extra)
    x = images(size, 3)
    before = single_logits(module, x)
    names = list(module.state_dict())
    ends = family.branch_ends(module)
    assert len(ends) == len(family.blocks(module))
    set_drop_path(module, ends, 0.5)
    assert list(module.state_dict()) == names
    assert torch.equal(single_logits(module, x), before)
    # all images lose all branches: with every block left out the logits are the same
    for part in module.modules():
        if isinstance(part, DropPath):
            part.drop_prob = 1.0 - 1e-9
    torch.manual_seed(0)
    without = single_logits(module.train(), x)
    for path in family.blocks(module):
        drop(module, path)
    torch.testing.assert_close(without, single_logits(module, x))


@pytest.mark.parametrize(("name", "size", "extra"), EACH, ids=[case[0] for case in EACH])
def test_images_of_a_batch_draw_for_themselves_by_the_seed(
    name: str, size: int, extra: dict[str, Any]
) -> None:
    family, module = _adapted(name, size, extra)
    set_drop_path(module, family.branch_ends(module), 0.5)
    module.train()
    same = images(size, 1).expand(6, -1, -1, -1)
    torch.manual_seed(3)
    first = single_logits(module, same)
    assert len({tuple(row) for row in first.tolist()}) > 1
    torch.manual_seed(3)
    assert torch.equal(single_logits(module, same), first)


def test_the_rate_rises_linearly_to_the_last_block_that_is_left() -> None:
    family, module = _adapted("vit_tiny_patch16_224", 32, {"depth": 5})
    drop(module, "blocks.2")
    set_drop_path(module, family.branch_ends(module), 0.4)
    rates = {
        path: part.drop_prob for path, part in module.named_modules() if isinstance(part, DropPath)
    }
    expected = {0: 0.1, 1: 0.2, 3: 0.3, 4: 0.4}
    assert rates == {
        f"blocks.{block}.drop_path{branch}": pytest.approx(rate)
        for block, rate in expected.items()
        for branch in (1, 2)
    }


def test_a_rate_of_zero_takes_out_what_timm_had_on() -> None:
    extra = {"depths": (2, 2), "embed_dim": 32, "num_heads": (2, 4)}
    family, module = _adapted("swin_tiny_patch4_window7_224", 36, extra)
    assert any(isinstance(part, DropPath) for part in module.modules())
    set_drop_path(module, family.branch_ends(module), 0.0)
    assert not any(isinstance(part, DropPath) for part in module.modules())
