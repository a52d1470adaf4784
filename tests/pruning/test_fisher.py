from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import CASES, CLASSES, IDS, images, timm_model
from torch import nn

from edgeprune import families
from edgeprune.pruning.first_order import first_order_sums
from edgeprune.pruning.fisher import mean_squared_gradients

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")


def _case(
    name: str, size: int, extra: dict[str, Any]
) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    model = families.of(name).adapt(timm_model(name, size, **extra))
    return model, images(size, 5), torch.arange(5) % CLASSES


def _reference(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    """Per-sample gradients by torch.func, ``(batch, *shape)``."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(p: dict[str, torch.Tensor], image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(torch.func.functional_call(model, p, (image[None],)), label[None])

    return torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, x, y)


@pytest.mark.parametrize(("name", "size", "extra"), CASES, ids=IDS)
def test_hessian_is_the_mean_of_squared_per_sample_gradients(
    name: str, size: int, extra: dict[str, Any]
) -> None:
    model, x, y = _case(name, size, extra)
    reference = _reference(model, x, y)
    found = mean_squared_gradients(model, [(x[:2], y[:2]), (x[2:], y[2:])])
    assert found.keys() == reference.keys()
    for key, gradient in reference.items():
        expected = gradient.square().mean(0)
        # a key's bias has no effect on a softmax: its true gradient is 0, both sides are noise
        error = (found[key] - expected).norm()
        assert error <= 1e-4 * expected.norm() + 1e-12, key


@pytest.mark.parametrize(("name", "size", "extra"), CASES, ids=IDS)
def test_first_order_sums_equal_gradient_times_weight(
    name: str, size: int, extra: dict[str, Any]
) -> None:
    model, x, y = _case(name, size, extra)
    reference = _reference(model, x, y)
    parameters = dict(model.named_parameters())
    for (key, axis), found in first_order_sums(model, x, y).items():
        change = reference[key] * parameters[key].detach()
        others = [a for a in range(1, change.dim()) if a != axis + 1]
        expected = change.sum(others) if others else change
        assert (found - expected).norm() <= 1e-4 * expected.norm() + 1e-7, (key, axis)


def test_scoring_leaves_the_model_as_it_was() -> None:
    model, x, y = _case(*CASES[0])
    model.train()
    model.head.weight.requires_grad_(False)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    mean_squared_gradients(model, [(x, y)])
    assert model.training
    assert not model.head.weight.requires_grad
    assert model.cls_token.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
