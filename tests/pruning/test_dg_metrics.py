"""Metrics that compare source domains: which channels rise, which fall, what must not matter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgeprune.errors import PlanError, UsageError
from edgeprune.families import ChannelGroup
from edgeprune.pruning.graph import Member
from edgeprune.pruning.metrics import Scores, Scoring, check_domains, get_metric
from edgeprune.pruning.metrics.dg import combined

DG = ("dg_mean", "dg_min", "dg_mean_std", "dg_rank")

# Channels of the toy network.
LOUD, QUIET, BOTH, NOBODY = range(4)


class Toy(nn.Module):
    """Four hidden channels, each of which passes one feature on: ``(batch, 4) -> (batch, 2)``."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 2, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(4))
            self.second.weight.copy_(torch.tensor([[0.1], [-0.1]]).expand(2, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.second(self.first(x))
        return hidden


def toy_scores(metric: str, dg_lambda: float | None = None) -> torch.Tensor:
    """Score the toy: one domain is loud, so that its losses and gradients are far larger."""
    group = ChannelGroup("hidden", "first", 4, ("mlp",))
    index = torch.arange(4)
    members = [Member("first.weight", 0, index), Member("second.weight", 1, index)]
    labels = torch.tensor([0, 1])
    loud = torch.tensor([6.0, 0.0, 5.0, 0.0]).expand(2, 4)
    quiet = torch.tensor([0.0, 1.0, 1.0, 0.0]).expand(2, 4)
    by_domain = [("loud", [(loud, labels)]), ("quiet", [(quiet, labels)])]
    batches = [batch for _, own in by_domain for batch in own]
    scoring = Scoring(Toy(), [(group, members)], batches, by_domain, dg_lambda=dg_lambda)
    return get_metric(metric).score(scoring)["hidden"]


@pytest.mark.parametrize("metric", DG)
def test_what_all_domains_need_rises_and_what_one_needs_falls(metric: str) -> None:
    hessian, dg = toy_scores("hessian"), toy_scores(metric)
    # For hessian the loud domain decides: what it alone needs comes first.
    assert hessian.argsort(descending=True).tolist() == [LOUD, BOTH, QUIET, NOBODY]
    assert dg.argmax() == BOTH
    assert dg[NOBODY] == dg.min()
    assert dg[LOUD] / dg[BOTH] < hessian[LOUD] / hessian[BOTH]


def test_dg_lambda_moves_from_the_mean_to_what_domains_agree_on() -> None:
    assert torch.allclose(toy_scores("dg_mean_std", 0.0), toy_scores("dg_mean"))
    shares = [toy_scores("dg_mean_std", weight) for weight in (0.0, 0.5, 1.0, 100.0)]
    loud = [float(scores[LOUD] / scores[BOTH]) for scores in shares]
    assert loud[0] > loud[1] > loud[2]
    # Never below a channel that no domain needs, however large lambda is.
    assert shares[-1].argmin() == NOBODY
    assert (shares[-1] >= 0).all()


def test_of_two_domains_mean_minus_std_is_the_least() -> None:
    """Their standard deviation is half the difference, where the bound does not hold."""
    least, spread = toy_scores("dg_min"), toy_scores("dg_mean_std", 1.0)
    assert spread[BOTH] == pytest.approx(float(least[BOTH]))
    assert spread[QUIET] == pytest.approx(0.01 * float(toy_scores("dg_mean")[QUIET]))


GROUPS = [
    ChannelGroup("embed", "", 8, ("embed",)),
    ChannelGroup("0.attn", "", 12, ("heads", "head_dim"), heads=3),
    ChannelGroup("1.attn", "", 8, ("heads", "head_dim"), heads=2),
    ChannelGroup("0.mlp", "", 10, ("mlp",)),
    ChannelGroup("1.mlp", "", 6, ("mlp",)),
    ChannelGroup("late.mlp", "", 6, ("mlp",), stage="late"),
]


def draw(seed: int, domains: int = 3) -> dict[str, Scores]:
    """Scores of every domain, over several orders of magnitude."""
    generator = torch.Generator().manual_seed(seed)
    return {
        f"domain {d}": {
            group.name: torch.randn(group.channels, generator=generator).mul(2).exp()
            for group in GROUPS
        }
        for d in range(domains)
    }


def combine_of(metric: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The combination that a metric stands for, caught on its way."""
    caught: list[Callable[[torch.Tensor], torch.Tensor]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "edgeprune.pruning.metrics.dg.combined",
            lambda domains, groups, combine: caught.append(combine) or {},
        )
        get_metric(metric).score(Scoring(Toy(), []))
    return caught[0]


@pytest.fixture(params=DG)
def score(request: pytest.FixtureRequest) -> Callable[[dict[str, Scores]], Scores]:
    combine = combine_of(request.param)
    return lambda domains: combined(domains, GROUPS, combine)


def same(one: Scores, two: Scores) -> bool:
    return all(torch.allclose(one[name], two[name], rtol=1e-5, atol=1e-7) for name in one)


Score = Callable[[dict[str, Scores]], Scores]


@pytest.mark.parametrize("factor", [1e-9, 1e6])
def test_a_domain_with_a_larger_loss_has_no_larger_say(score: Score, factor: float) -> None:
    domains = draw(0)
    louder = {name: dict(scores) for name, scores in domains.items()}
    louder["domain 1"] = {name: values * factor for name, values in domains["domain 1"].items()}
    assert same(score(domains), score(louder))


def test_kinds_and_stages_are_normalised_apart(score: Score) -> None:
    domains = draw(1)
    scaled = {
        name: {g: v * 1e4 if g in ("0.mlp", "1.mlp") else v for g, v in scores.items()}
        for name, scores in domains.items()
    }
    assert same(score(domains), score(scaled))


def test_neither_the_order_of_domains_nor_that_of_channels_matters(score: Score) -> None:
    domains = draw(2)
    assert same(score(domains), score(dict(reversed(domains.items()))))
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    moved = {name: {**scores, "0.mlp": scores["0.mlp"][order]} for name, scores in domains.items()}
    expected = score(domains)
    assert same(score(moved), {**expected, "0.mlp": expected["0.mlp"][order]})


def test_domains_that_agree_are_ranked_as_each_ranks_alone(score: Score) -> None:
    (one,) = draw(3, domains=1).values()
    found = score({"a": one, "b": {name: values * 7 for name, values in one.items()}})
    for name in ("embed", "0.mlp", "1.mlp", "late.mlp"):
        assert torch.equal(found[name].argsort(), one[name].argsort())


@pytest.mark.parametrize("metric", DG)
@given(seed=st.integers(0, 2**31), domains=st.integers(2, 6))
def test_a_head_has_the_combined_score_of_the_whole_head(
    metric: str, seed: int, domains: int
) -> None:
    """What units.py adds up over dims is what the metric says of heads, and never negative."""
    combine, scores = combine_of(metric), draw(seed, domains)
    found = combined(scores, GROUPS, combine)
    attention = [group for group in GROUPS if group.heads]
    rows = [
        torch.cat([own[g.name].view(g.heads, -1).sum(1) for g in attention])
        for own in scores.values()
    ]
    expected = combine(torch.stack([row / row.mean() for row in rows]))
    sums = torch.cat([found[group.name].view(group.heads, -1).sum(1) for group in attention])
    assert torch.allclose(sums, expected.float(), rtol=1e-4)
    assert all(bool((values >= 0).all()) for values in found.values())


def test_a_head_whose_dims_serve_different_domains_is_needed_by_all() -> None:
    group = ChannelGroup("attn", "", 4, ("heads", "head_dim"), heads=2)
    domains = {
        "a": {"attn": torch.tensor([4.0, 0.0, 1.0, 1.0])},
        "b": {"attn": torch.tensor([0.0, 4.0, 1.0, 1.0])},
    }
    found = combined(domains, [group], combine_of("dg_min"))["attn"].view(2, 2)
    assert found.sum(1).tolist() == pytest.approx([4 / 3, 2 / 3])
    assert found[0].tolist() == pytest.approx([2 / 3, 2 / 3])


def test_equal_scores_share_their_rank() -> None:
    domains = {"a": {"mlp": torch.tensor([0.0, 5.0, 0.0, 9.0])}}
    group = ChannelGroup("mlp", "", 4, ("mlp",))
    found = combined(domains, [group], combine_of("dg_rank"))["mlp"]
    assert found.tolist() == pytest.approx([1.5 / 4, 3 / 4, 1.5 / 4, 1.0])


def test_a_domain_without_gradients_is_named(score: Score) -> None:
    domains = draw(4)
    domains["domain 2"] = {name: values * 0 for name, values in domains["domain 2"].items()}
    with pytest.raises(PlanError, match="every gradient of source domain 'domain 2' is zero"):
        score(domains)


SIX = {"apple": 1, "google": 0, "joy": 1, "samsung": 0, "twitter": 1, "wind": 0}


@pytest.mark.parametrize("metric", DG)
def test_domains_without_an_image_are_refused(metric: str) -> None:
    with pytest.raises(UsageError, match=r"'google', 'samsung', 'wind'; .*'dg.*--samples 6 or"):
        check_domains(get_metric(metric), SIX)


@pytest.mark.parametrize("metric", DG)
def test_one_source_domain_is_refused(metric: str) -> None:
    with pytest.raises(UsageError, match="there is one, 'ink'") as caught:
        check_domains(get_metric(metric), {"ink": 9})
    assert caught.value.hint is not None
    assert "hessian" in caught.value.hint


def test_other_metrics_warn_of_domains_without_an_image() -> None:
    (note,) = check_domains(get_metric("hessian"), SIX)
    assert "'google', 'samsung', 'wind'" in note
    assert "--samples 6" in note
    assert check_domains(get_metric("hessian"), {"ink": 9}) == []
    assert check_domains(get_metric("dg_min"), {"ink": 9, "oil": 1}) == []
