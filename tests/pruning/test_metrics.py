"""Every metric against a plain, slow reference, on models of several families."""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from models import CASES, CLASSES, SMALL, images, timm_model
from torch import nn

from edgeprune import families
from edgeprune.errors import UsageError
from edgeprune.families import ChannelGroup
from edgeprune.pruning import PruneSettings
from edgeprune.pruning.graph import Member, PruningGraph
from edgeprune.pruning.metrics import Scores, Scoring, base, get_metric, metric_names

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")

DOMAINS = {"day": slice(0, 3), "dusk": slice(3, 5), "night": slice(5, 6)}
WEIGHT = 0.7
MODELS = [
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "beit_base_patch16_224",
    "vit_base_patch16_siglip_224",
    "eva02_base_patch14_224",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
]


@dataclass(frozen=True)
class Case:
    """A small model, its groups, six images of three domains, and what autograd says of them."""

    module: nn.Module
    groups: Sequence[tuple[ChannelGroup, Sequence[Member]]]
    x: torch.Tensor
    y: torch.Tensor
    gradients: dict[str, torch.Tensor]

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return {name: p.detach() for name, p in self.module.named_parameters()}

    def scoring(self) -> Scoring:
        """Batches that do not follow the domains, and the same images by domain."""
        batches = [(self.x[:4], self.y[:4]), (self.x[4:], self.y[4:])]
        by_domain = [(name, [(self.x[own], self.y[own])]) for name, own in DOMAINS.items()]
        return Scoring(self.module, self.groups, batches, by_domain, seed=3, dg_lambda=WEIGHT)

    def channel(
        self, values: dict[str, torch.Tensor], members: Sequence[Member], c: int
    ) -> torch.Tensor:
        """All values of one channel, one after another."""
        slices = [values[m.parameter].select(m.axis, int(m.index[c])).flatten() for m in members]
        return torch.cat(slices)

    def each(self, score: Callable[[Sequence[Member], int], torch.Tensor]) -> Scores:
        """Score channel by channel."""
        return {
            group.name: torch.stack([score(members, c) for c in range(group.channels)])
            for group, members in self.groups
        }


@lru_cache(maxsize=1)  # tests of one model follow one another
def case_of(name: str) -> Case:
    size, extra = next((size, extra) for other, size, extra in CASES if other == name)
    family = families.of(name)
    module = family.adapt(timm_model(name, size, **({**SMALL} if "beit" in name else extra)))
    graph = PruningGraph(module, family, size)
    groups = [(group, graph.members(group)) for group in graph.groups]
    x, y = images(size, 6), torch.arange(6) % CLASSES

    def loss(p: dict[str, torch.Tensor], image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        logits = torch.func.functional_call(module, p, (image[None],))
        return F.cross_entropy(logits, label[None])

    parameters = {name: p.detach() for name, p in module.named_parameters()}
    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
    return Case(module, groups, x, y, gradients)


def l1(case: Case) -> Scores:
    return case.each(lambda members, c: case.channel(case.weights, members, c).abs().sum())


def l2(case: Case) -> Scores:
    return case.each(lambda members, c: case.channel(case.weights, members, c).norm())


def lamp(case: Case) -> Scores:
    sizes = case.each(lambda members, c: case.channel(case.weights, members, c).square().sum())

    def share(of: Sequence[float]) -> torch.Tensor:
        return torch.tensor([own / sum(other for other in of if other >= own) for own in of])

    found = {}
    for group, _ in case.groups:
        channels = share(sizes[group.name].tolist())
        if group.heads:
            heads = share(sizes[group.name].view(group.heads, -1).sum(1).tolist())
            channels = _divided(heads, channels)
        found[group.name] = channels
    return found


def _divided(heads: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
    tables = channels.view(len(heads), -1)
    return torch.cat([h * dims / dims.sum() for h, dims in zip(heads, tables, strict=True)])


def fpgm(case: Case) -> Scores:
    found = {}
    for group, members in case.groups:
        rows = [case.channel(case.weights, members, c) for c in range(group.channels)]
        stacked = torch.stack(rows).double()
        found[group.name] = torch.cdist(
            stacked, stacked, compute_mode="donot_use_mm_for_euclid_dist"
        ).sum(1)
    return found


def activation(case: Case) -> Scores:
    """Inputs of linear layers by hooks on all of them, image by image."""
    seen: dict[str, list[torch.Tensor]] = {}
    handles = [
        layer.register_forward_hook(
            lambda layer, inputs, output, name=name: seen.setdefault(name, []).append(
                inputs[0].flatten(0, -2)
            )
        )
        for name, layer in case.module.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    with torch.no_grad():
        for image in case.x:
            case.module(image[None])
    for handle in handles:
        handle.remove()
    power = {name: torch.cat(parts).square().mean(0) for name, parts in seen.items()}

    def score(members: Sequence[Member], c: int) -> torch.Tensor:
        readers = [m for m in members if m.axis == 1]
        assert readers
        parts = [power[m.parameter.rpartition(".")[0]][m.index[c]] for m in readers]
        return torch.stack(parts).sum().sqrt()

    return case.each(score)


def taylor(case: Case) -> Scores:
    changes = [
        {name: gradient[b] * case.weights[name] for name, gradient in case.gradients.items()}
        for b in range(len(case.x))
    ]
    return case.each(
        lambda members, c: torch.stack(
            [case.channel(change, members, c).sum().abs() for change in changes]
        ).mean()
    )


def _second_order(case: Case, own: slice) -> Scores:
    values = {
        name: gradient[own].square().mean(0) * case.weights[name].square()
        for name, gradient in case.gradients.items()
    }
    return case.each(lambda members, c: case.channel(values, members, c).sum())


def hessian(case: Case) -> Scores:
    return _second_order(case, slice(None))


def _dg(case: Case, combine: Callable[[list[float], list[list[float]]], float]) -> Scores:
    """Combine unit by unit; ``combine`` takes a unit's scores and all scores of its kind."""
    domains = [_second_order(case, own) for own in DOMAINS.values()]

    def kind(group: ChannelGroup) -> tuple[str, str]:
        return group.dims[0], group.stage

    def across(of: Callable[[torch.Tensor, ChannelGroup], torch.Tensor]) -> Scores:
        found = {}
        for group, _ in case.groups:
            alike = [other for other, _ in case.groups if kind(other) == kind(group)]
            rows = [torch.cat([of(scores[g.name], g) for g in alike]) for scores in domains]
            means = [float(row.mean()) for row in rows]
            everything = [(row / mean).tolist() for row, mean in zip(rows, means, strict=True)]
            own = [of(s[group.name], group) / m for s, m in zip(domains, means, strict=True)]
            columns = torch.stack(own).T.tolist()
            found[group.name] = torch.tensor([combine(column, everything) for column in columns])
        return found

    channels = across(lambda scores, group: scores)
    heads = across(lambda scores, group: scores.view(max(group.heads, 1), -1).sum(1))
    return {
        group.name: _divided(heads[group.name], channels[group.name])
        if group.heads
        else channels[group.name]
        for group, _ in case.groups
    }


def _mean_std(column: list[float]) -> float:
    mean = sum(column) / len(column)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in column) / len(column))
    return max(mean - WEIGHT * deviation, 0.01 * mean)


def _rank(column: list[float], everything: list[list[float]]) -> float:
    ranks = [
        (sum(other < own for other in row) + sum(other <= own for other in row) + 1) / 2 / len(row)
        for own, row in zip(column, everything, strict=True)
    ]
    return sum(ranks) / len(ranks)


REFERENCES: dict[str, Callable[[Case], Scores]] = {
    "l1": l1,
    "l2": l2,
    "lamp": lamp,
    "fpgm": fpgm,
    "activation": activation,
    "taylor": taylor,
    "hessian": hessian,
    "dg_mean": lambda case: _dg(case, lambda column, _: sum(column) / len(column)),
    "dg_min": lambda case: _dg(case, lambda column, _: min(column)),
    "dg_mean_std": lambda case: _dg(case, lambda column, _: _mean_std(column)),
    "dg_rank": lambda case: _dg(case, _rank),
}


@pytest.mark.parametrize("metric", REFERENCES)
@pytest.mark.parametrize("name", MODELS)
def test_a_metric_is_what_its_formula_says(name: str, metric: str) -> None:
    case = case_of(name)
    found = get_metric(metric).score(case.scoring())
    expected = REFERENCES[metric](case)
    assert found.keys() == expected.keys()
    for group, values in found.items():
        assert (values >= 0).all(), group
        assert values.dtype == torch.float32
        error = (values - expected[group]).abs()
        limit = 1e-3 * expected[group].abs() + 1e-4 * expected[group].abs().mean()
        assert (error <= limit).all(), (group, float((error / limit).max()))


def test_no_metric_is_without_a_reference() -> None:
    assert set(metric_names()) == {"random", *REFERENCES}


def test_random_is_repeated_by_its_seed() -> None:
    case = case_of(MODELS[0])
    one, two = (get_metric("random").score(Scoring(case.module, case.groups, seed=5)) for _ in "ab")
    other = get_metric("random").score(Scoring(case.module, case.groups, seed=6))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def dropped_in(tmp_path: Path) -> Iterator[str]:
    """A metric in a file that nothing else knows of."""
    (tmp_path / "smallest.py").write_text(
        '''
from edgeprune.pruning.metrics.base import metric

@metric("smallest", needs_data=True)
def smallest(scoring):
    """Nothing but a name."""
    return {}
'''
    )
    package = importlib.import_module("edgeprune.pruning.metrics")
    package.__path__.append(str(tmp_path))
    yield "smallest"
    package.__path__.remove(str(tmp_path))
    base._METRICS.pop("smallest", None)
    sys.modules.pop("edgeprune.pruning.metrics.smallest", None)


def test_a_new_metric_is_one_new_file(dropped_in: str) -> None:
    assert dropped_in in metric_names()
    assert get_metric(dropped_in).needs_data
    assert PruneSettings(metric=dropped_in).metric == dropped_in


def test_no_two_metrics_have_one_name() -> None:
    assert get_metric("l1").name == "l1"
    with pytest.raises(ValueError, match="two metrics 'l1'"):
        base.metric("l1")(lambda scoring: {})


@pytest.mark.parametrize("name", metric_names())
def test_every_metric_is_explained(name: str) -> None:
    assert get_metric(name).score.__doc__
    root = Path(__file__).parents[2]
    for page in ("README.md", "docs/pruning.md"):
        rows = re.findall(r"^\| (`.*?) \|", (root / page).read_text(), re.MULTILINE)
        named = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
        assert name in named, page


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"metric": "l3"}, "unknown metric 'l3'; accepted: activation, dg_mean"),
        ({"metric": "dg_mean_std", "dg_lambda": -0.5}, "dg-lambda -0.5 is not accepted"),
        ({"metric": "dg_mean_std", "dg_lambda": math.nan}, "dg-lambda nan is not accepted"),
        ({"metric": "dg_mean_std", "dg_lambda": math.inf}, "dg-lambda inf is not accepted"),
        ({"metric": "dg_min", "dg_lambda": 1.0}, "is for metric dg_mean_std; metric 'dg_min'"),
        ({"dg_lambda": 0.0}, "dg-lambda 0 is for metric dg_mean_std; metric 'l1'"),
    ],
)
def test_bad_settings_of_metrics_are_named(chosen: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UsageError, match=message):
        PruneSettings(**chosen)
