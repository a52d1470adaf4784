from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.errors import PlanError
from edgeprune.families import ChannelGroup
from edgeprune.families.base import WidthKey
from edgeprune.pruning.plan import plan
from edgeprune.pruning.units import FLOORS, kept_channels, units_of
from edgeprune.schema import Cost

DIMS = ("embed", "heads", "head_dim", "mlp")


def _network(layers: int, embed: int, heads: int, head_dim: int, mlp: int) -> list[ChannelGroup]:
    groups = [ChannelGroup("embed", "e", embed, ("embed",))]
    for i in range(layers):
        dims = ("heads", "head_dim")
        groups.append(ChannelGroup(f"{i}.attn", "a", heads * head_dim, dims, heads))
        groups.append(ChannelGroup(f"{i}.mlp", "m", mlp, ("mlp",)))
    return groups


def _original(groups: list[ChannelGroup]) -> dict[WidthKey, int]:
    widths = {}
    for group in groups:
        if group.heads:
            widths[group.name, "heads"] = group.heads
            widths[group.name, "head_dim"] = group.channels // group.heads
        else:
            widths[group.name, group.dims[0]] = group.channels
    return widths


def _cost(original: Mapping[WidthKey, int]):  # type: ignore[no-untyped-def]
    def cost_of(keep: Mapping[WidthKey, int]) -> Cost:
        w = {**original, **keep}
        embed = w["embed", "embed"]
        inner = sum(
            width * w[name, "head_dim"] for (name, dim), width in w.items() if dim == "heads"
        )
        hidden = sum(width for (_, dim), width in w.items() if dim == "mlp")
        params = embed * (4 * inner + 2 * hidden)
        return Cost(params=params, macs=params * 10 + 3 * inner)

    return cost_of


def _plan(groups, scores, *, dims=DIMS, **chosen):  # type: ignore[no-untyped-def]
    original = _original(groups)
    least = dict.fromkeys(original, 1)
    units = [u for g in groups for u in units_of(g, scores[g.name], dims, least)]
    options = {"ratio": 0.5, "budget": "channels", "scope": "global", "round_to": 8, **chosen}
    cost_of = _cost(original)
    planned = plan(units, original, cost_of=cost_of, dense=cost_of(original), **options)
    return planned, original, cost_of


def _scores(groups: list[ChannelGroup], seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {g.name: torch.rand(g.channels, generator=generator) ** 4 for g in groups}


@settings(max_examples=150, deadline=None)
@given(
    ratio=st.floats(0.01, 0.99),
    scope=st.sampled_from(["global", "isomorphic", "local"]),
    round_to=st.sampled_from([1, 4, 8, 16, 32]),
    layers=st.integers(1, 5),
    heads=st.integers(1, 12),
    mlp=st.integers(1, 40).map(lambda n: n * 16),
    dims=st.sets(st.sampled_from(DIMS), min_size=1).map(tuple),
    seed=st.integers(0, 99),
)
def test_channel_budgets_hold_floors_and_rounding(
    ratio: float,
    scope: str,
    round_to: int,
    layers: int,
    heads: int,
    mlp: int,
    dims: tuple[str, ...],
    seed: int,
) -> None:
    groups = _network(layers, 96, heads, 32, mlp)
    planned, original, _ = _plan(
        groups, _scores(groups, seed), dims=dims, ratio=ratio, scope=scope, round_to=round_to
    )
    assert {key[1] for key in planned.keep} == {d for d in dims if any(k[1] == d for k in original)}
    for (name, dim), width in planned.keep.items():
        step = 1 if dim == "heads" else round_to
        assert min(FLOORS[dim], original[name, dim]) <= width <= original[name, dim]
        assert width % step == 0 or width == original[name, dim]
    for dim in {key[1] for key in planned.keep}:
        keys = [key for key in planned.keep if key[1] == dim]
        kept = sum(planned.keep[key] for key in keys)
        wanted = (1 - ratio) * sum(original[key] for key in keys)
        step = 1 if dim == "heads" else round_to
        floor = sum(-(-FLOORS[dim] // step) * step for _ in keys)
        slack = step * (len(keys) if scope == "local" else 1)
        assert abs(kept - wanted) <= slack or kept <= floor


@pytest.mark.parametrize("budget", ["params", "macs"])
@pytest.mark.parametrize("scope", ["global", "isomorphic", "local"])
@pytest.mark.parametrize("ratio", [0.5, 0.75, 0.9])
def test_costs_land_within_one_percent(budget: str, scope: str, ratio: float) -> None:
    groups = _network(12, 768, 12, 64, 3072)
    planned, original, cost_of = _plan(
        groups,
        _scores(groups, 0),
        dims=("embed", "heads", "mlp"),
        budget=budget,
        scope=scope,
        ratio=ratio,
    )
    reached = getattr(cost_of(planned.keep), budget) / getattr(cost_of(original), budget)
    if not planned.warnings:
        assert abs(reached / (1 - ratio) - 1) <= 0.01
    else:  # said so, and no farther off than one step of the embedding
        assert abs(reached - (1 - ratio)) <= 8 / 768
        assert budget in planned.warnings[0]


def test_a_budget_below_the_floors_names_the_least() -> None:
    groups = _network(2, 96, 3, 32, 64)
    with pytest.raises(PlanError, match="least reachable"):
        _plan(groups, _scores(groups, 0), dims=("mlp",), budget="params", ratio=0.9)


def test_floors_above_the_share_are_said() -> None:
    groups = _network(12, 768, 12, 64, 3072)
    planned, _, _ = _plan(groups, _scores(groups, 0), dims=("heads",), ratio=0.95)
    assert set(planned.keep.values()) == {1}
    assert "heads: 8.3%" in planned.warnings[0]


def test_global_scope_takes_from_the_layers_that_matter_least() -> None:
    groups = _network(2, 96, 3, 32, 128)
    scores = {g.name: torch.linspace(0.1, 1, g.channels) for g in groups}
    scores["1.mlp"] = scores["1.mlp"] * 0.01
    planned, _, _ = _plan(groups, scores, dims=("mlp",))
    assert planned.keep == {("0.mlp", "mlp"): 120, ("1.mlp", "mlp"): 8}
    local, _, _ = _plan(groups, scores, dims=("mlp",), scope="local")
    assert local.keep == {("0.mlp", "mlp"): 64, ("1.mlp", "mlp"): 64}


def test_the_best_channels_stay_and_each_head_keeps_its_own_dims() -> None:
    group = ChannelGroup("a", "a", 12, ("heads", "head_dim"), 3)
    scores = torch.tensor([9, 1, 8, 2, 0.1, 0.2, 0.3, 0.4, 5, 6, 1, 1])
    keep = {("a", "heads"): 2, ("a", "head_dim"): 2}
    assert kept_channels(group, scores, keep) == [0, 2, 8, 9]
