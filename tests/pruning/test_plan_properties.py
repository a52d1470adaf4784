"""Plans over synthetic networks: floors, limits, rounding and budgets, whatever the scores."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgeprune.errors import PlanError
from edgeprune.families import ChannelGroup
from edgeprune.families.base import WidthKey
from edgeprune.pruning.plan import TOLERANCE, plan
from edgeprune.pruning.shrink import Keep, Ranked, shrinking, without_dropped
from edgeprune.pruning.units import BLOCKS, FLOORS, Units, block_units, units_of
from edgeprune.schema import Cost

TOKENS = 10
SCOPES = st.sampled_from(["global", "isomorphic", "local"])
NETWORKS = st.tuples(
    st.integers(1, 5),  # layers
    st.sampled_from([64, 96, 192]),  # embedding
    st.integers(1, 8),  # heads
    st.sampled_from([16, 32, 64]),  # head dims
    st.sampled_from([64, 200, 768]),  # MLP
)
DIMS = st.sets(st.sampled_from([*FLOORS, BLOCKS]), min_size=1).map(lambda s: tuple(sorted(s)))


class Network:
    """Blocks of attention and MLP on one stream, with what each layer frees."""

    def __init__(self, shape: tuple[int, int, int, int, int], seed: int) -> None:
        layers, self.embed, self.heads, self.head_dim, self.mlp = shape
        self.blocks = [f"blocks.{i}" for i in range(layers)]
        self.groups = [ChannelGroup("embed", "e", self.embed, ("embed",))]
        for path in self.blocks:
            dims = ("heads", "head_dim")
            channels = self.heads * self.head_dim
            self.groups.append(ChannelGroup(f"{path}.attn", "a", channels, dims, self.heads))
            self.groups.append(ChannelGroup(f"{path}.mlp", "m", self.mlp, ("mlp",)))
        generator = torch.Generator().manual_seed(seed)
        self.scores = {
            g.name: torch.rand(g.channels, generator=generator) ** 4 for g in self.groups
        }
        self.original: dict[WidthKey, int] = {("embed", "embed"): self.embed}
        for path in self.blocks:
            self.original[f"{path}.attn", "heads"] = self.heads
            self.original[f"{path}.attn", "head_dim"] = self.head_dim
            self.original[f"{path}.mlp", "mlp"] = self.mlp
            self.original[path, BLOCKS] = 1

    def units(self, dims: tuple[str, ...], max_ratio: float = 1.0) -> list[Units]:
        least = {key: -int(-width * (1 - max_ratio) // 1) for key, width in self.original.items()}
        attention = self.embed * self.heads * self.head_dim * 4
        freed = {"embed": (attention + 2 * self.embed * self.mlp) * len(self.blocks)}
        found = []
        for group in self.groups:
            total = freed.get(group.name, attention if group.heads else 2 * self.embed * self.mlp)
            found += units_of(group, self.scores[group.name], dims, least, float(total))
        if BLOCKS in dims:
            each = dict.fromkeys(self.blocks, float(attention + 2 * self.embed * self.mlp))
            found += block_units(self.blocks, self.groups, self.scores, each)
        return found

    def cost(self, keep: Mapping[WidthKey, int]) -> Cost:
        left = without_dropped({**self.original, **keep})
        embed = left["embed", "embed"]
        inner = sum(
            width * left[name, "head_dim"] for (name, dim), width in left.items() if dim == "heads"
        )
        hidden = sum(width for (_, dim), width in left.items() if dim == "mlp")
        params = embed * (4 * inner + 2 * hidden) + 48 * embed
        return Cost(params=params, macs=TOKENS * params + 2 * TOKENS**2 * inner)


def _check_widths(network: Network, keep: Keep, round_to: int, max_ratio: float) -> None:
    for (name, dim), width in keep.items():
        before = network.original[name, dim]
        if dim == BLOCKS:
            assert width in (0, 1)
            continue
        step = 1 if dim == "heads" else round_to
        assert min(FLOORS[dim], before) <= width <= before
        assert width >= before * (1 - max_ratio) - 1e-9
        assert width % step == 0 or width == before
    gone = [name for (name, dim), width in keep.items() if dim == BLOCKS and width == 0]
    assert len(gone) < len(network.blocks)
    assert not [name for name, _ in keep if name.startswith(tuple(f"{path}." for path in gone))]


@settings(max_examples=120, deadline=None)
@given(
    shape=NETWORKS,
    dims=DIMS,
    ratio=st.floats(0.01, 0.99),
    scope=SCOPES,
    round_to=st.sampled_from([1, 8, 16]),
    max_ratio=st.floats(0.3, 1.0),
    budget=st.sampled_from(["channels", "params", "macs"]),
    seed=st.integers(0, 99),
)
def test_floors_limits_and_rounding_hold_and_budgets_are_met_or_said(
    shape: tuple[int, int, int, int, int],
    dims: tuple[str, ...],
    ratio: float,
    scope: str,
    round_to: int,
    max_ratio: float,
    budget: str,
    seed: int,
) -> None:
    network = Network(shape, seed)
    units = network.units(dims, max_ratio)
    options = {"ratio": ratio, "budget": budget, "scope": scope, "round_to": round_to}
    dense = network.cost({})
    # The smallest model that the floors allow; channels are never refused.
    floors = shrinking(units, network.original, scope, round_to)
    least = getattr(network.cost(floors.make(floors.last)), budget, 0)
    if least > (1 - ratio) * getattr(dense, budget, 1) * (1 + TOLERANCE):
        with pytest.raises(PlanError, match=f"least reachable, {least:,} "):
            plan(units, network.original, cost_of=network.cost, dense=dense, **options)  # type: ignore[arg-type]
        return
    planned = plan(units, network.original, cost_of=network.cost, dense=dense, **options)  # type: ignore[arg-type]
    _check_widths(network, planned.keep, round_to, max_ratio)
    if budget == "channels":
        return
    target = (1 - ratio) * getattr(dense, budget)
    reached = getattr(network.cost(planned.keep), budget)
    if abs(reached / target - 1) > TOLERANCE:
        assert budget in planned.warnings[0]
        assert abs(reached - target) <= _largest_step(network, planned.keep, dims, budget, round_to)
    else:
        assert planned.warnings == ()


def _largest_step(
    network: Network, keep: Keep, dims: tuple[str, ...], budget: str, round_to: int
) -> float:
    """What one more rounding step of any one layer costs at these widths."""
    here = getattr(network.cost(keep), budget)
    steps = [0.0]
    for key, before in network.original.items():
        if key[1] not in dims:
            continue
        step = 1 if key[1] in ("heads", BLOCKS) else round_to
        width = keep.get(key, before)
        for other in (width + step, width - step):
            bounded = max(min(other, before), 0)
            trial = {**keep, key: bounded}
            if key[1] == BLOCKS and bounded == 1:
                trial = {**network.original, **trial}
            steps.append(abs(getattr(network.cost(trial), budget) - here))
    return max(steps)


@settings(max_examples=60, deadline=None)
@given(shape=NETWORKS, dims=DIMS, scope=SCOPES, seed=st.integers(0, 99))
def test_every_sequence_only_shrinks(
    shape: tuple[int, int, int, int, int], dims: tuple[str, ...], scope: str, seed: int
) -> None:
    network = Network(shape, seed)
    sequence = shrinking(network.units(dims), network.original, scope, 8)
    steps = range(0, sequence.last + 1, max(1, sequence.last // 40))
    macs = [network.cost(sequence.make(step)).macs for step in steps]
    assert macs[0] <= network.cost({}).macs
    if scope == "global":
        assert macs == sorted(macs, reverse=True)
    assert macs[-1] <= macs[0]


@settings(max_examples=60, deadline=None)
@given(shape=NETWORKS, seed=st.integers(0, 99), step=st.floats(0, 1))
def test_a_finer_sequence_begins_where_it_left_off(
    shape: tuple[int, int, int, int, int], seed: int, step: float
) -> None:
    network = Network(shape, seed)
    coarse = shrinking(
        network.units(("embed", "heads", "mlp", BLOCKS)), network.original, "global", 8
    )
    assert isinstance(coarse, Ranked)
    at = int(step * coarse.last)
    finer = coarse.finer(at)
    assume(finer is not None)
    assert finer is not None
    assert finer.make(0) == coarse.make(at)
    assert max(chunk.freed for chunk in finer.order) < coarse.order[at].freed


@pytest.mark.parametrize("scope", ["global", "isomorphic", "local"])
@pytest.mark.parametrize("budget", ["params", "macs"])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75, 0.9])
def test_networks_of_real_depth_land_within_one_percent(
    scope: str, budget: str, ratio: float
) -> None:
    network = Network((12, 384, 6, 64, 1536), 0)
    dense = network.cost({})
    planned = plan(
        network.units(("embed", "heads", "mlp")),
        network.original,
        ratio=ratio,
        budget=budget,
        scope=scope,
        round_to=8,
        cost_of=network.cost,
        dense=dense,
    )
    reached = getattr(network.cost(planned.keep), budget)
    assert abs(reached / ((1 - ratio) * getattr(dense, budget)) - 1) <= TOLERANCE
    assert planned.warnings == ()


def test_no_kind_is_emptied_by_the_size_of_its_units() -> None:
    """A head frees hundreds of times what a neuron frees; that alone must not decide."""
    network = Network((6, 384, 6, 64, 1536), 0)
    planned = plan(
        network.units(("embed", "heads", "mlp")),
        network.original,
        ratio=0.5,
        budget="macs",
        scope="global",
        round_to=8,
        cost_of=network.cost,
        dense=network.cost({}),
    )
    for dim in ("embed", "heads", "mlp"):
        keys = [key for key in planned.keep if key[1] == dim]
        share = sum(planned.keep[key] for key in keys) / sum(network.original[key] for key in keys)
        assert share > 0.3


def test_of_equal_scores_what_frees_more_goes_first() -> None:
    scores = torch.linspace(1, 0.1, 64)
    units = [
        Units(("small", "mlp"), scores, 8, freed=1.0),
        Units(("large", "mlp"), scores, 8, freed=4.0),
    ]
    sequence = shrinking(units, {unit.key: 64 for unit in units}, "global", 8)
    half = sequence.make(6)
    assert half["large", "mlp"] < half["small", "mlp"]
    unweighed = [Units(unit.key, unit.scores, unit.floor) for unit in units]
    same = shrinking(unweighed, {unit.key: 64 for unit in units}, "global", 8)
    even = same.make(6)
    assert even["large", "mlp"] == even["small", "mlp"]
