"""What every source domain needs: the second-order score of each by itself, then combined.

A channel that one domain alone needs serves what is special to it, which an unseen domain lacks; a
channel that all need is the better guess for what the unseen one needs too. Here

    S_d(c) = sum_w F_d(w) w^2 over channel c,   F_d = mean squared gradient over images of domain d
    s_d(c) = S_d(c) / mean of S_d over all channels of the same kind of dimension and stage

so that a domain with a larger loss has no larger say. A metric says how the ``s_d(c)`` of all
domains become one score.

Heads are combined whole, from ``S_d`` summed over their dims, and the dims then share the score of
their head: a head whose dims serve different domains is needed by all of them. One domain's Fisher
matrix is held at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from edgeprune.errors import PlanError
from edgeprune.families import ChannelGroup
from edgeprune.pruning.metrics.base import Scores, Scoring, metric
from edgeprune.pruning.metrics.heads import share_among_dims
from edgeprune.pruning.metrics.hessian import second_order

# From s_d, (domains, units), to a score per unit, (units,).
Combine = Callable[[torch.Tensor], torch.Tensor]

# Weight of the standard deviation in dg_mean_std unless a person says otherwise.
LAMBDA = 1.0

# What dg_mean_std leaves of the mean where domains differ most.
LEAST_SHARE = 0.01


@metric("dg_mean", needs_domains=True)
def dg_mean(scoring: Scoring) -> Scores:
    """Mean over source domains of ``s_d(c)``: the hessian score, each domain with an equal say.

    New here; per-domain Fisher, normalised (see the module).
    """
    return _score(scoring, lambda table: table.mean(0))


@metric("dg_min", needs_domains=True)
def dg_min(scoring: Scoring) -> Scores:
    """Least ``s_d(c)`` over source domains: the domain that needs a channel least decides.

    New here; per-domain Fisher, normalised (see the module).
    """
    return _score(scoring, lambda table: table.min(0).values)


@metric("dg_mean_std", needs_domains=True, settings=("dg_lambda",))
def dg_mean_std(scoring: Scoring) -> Scores:
    """Mean over source domains of ``s_d(c)`` minus lambda times the standard deviation over them.

    At least a hundredth of the mean is left. A negative score would be worse than that of a
    channel that no domain needs, and a ranking that divides by what a removal frees would put the
    costly ones last. Where the bound holds, the mean decides.

    New here; per-domain Fisher, normalised (see the module); lambda is ``dg_lambda``.
    """
    weight = LAMBDA if scoring.dg_lambda is None else scoring.dg_lambda

    def combine(table: torch.Tensor) -> torch.Tensor:
        mean = table.mean(0)
        return torch.maximum(mean - weight * table.std(0, correction=0), LEAST_SHARE * mean)

    return _score(scoring, combine)


@metric("dg_rank", needs_domains=True)
def dg_rank(scoring: Scoring) -> Scores:
    """Mean over source domains of the rank of a channel among all of its kind, from 0 to 1.

    The size of a score no longer counts, only its place: no domain can save a channel by a huge
    score. Equal scores share their mean rank.

    New here; per-domain Fisher (see the module), ranks aggregated as by Borda's count.
    """
    return _score(scoring, lambda table: _ranks(table).mean(0))


def combined(
    domains: Mapping[str, Scores], groups: Sequence[ChannelGroup], combine: Combine
) -> Scores:
    """Combine the scores ``S_d`` of all domains.

    Args:
        domains: ``(channels,)`` per group, for every domain.
        groups: the channel groups.
        combine: from ``(domains, units)``, with mean 1 per domain, to ``(units,)``.

    Raises:
        PlanError: if all scores of a domain are zero, naming it.
    """
    for domain, scores in domains.items():
        if not any(bool(values.any()) for values in scores.values()):
            raise PlanError(
                f"every gradient of source domain {domain!r} is zero: it scores no channel",
                hint="--metric hessian takes the images of all domains together",
            )
    kinds: dict[tuple[str, str], list[ChannelGroup]] = {}
    for group in groups:
        kinds.setdefault((group.dims[0], group.stage), []).append(group)
    found: Scores = {}
    for alike in kinds.values():
        tables = [torch.stack([s[group.name] for s in domains.values()]) for group in alike]
        channels = _combine_alike(tables, combine)
        if alike[0].heads:
            whole = [
                table.unflatten(1, (group.heads, -1)).sum(2)
                for table, group in zip(tables, alike, strict=True)
            ]
            heads = _combine_alike(whole, combine)
            channels = [share_among_dims(*pair) for pair in zip(heads, channels, strict=True)]
        found |= {g.name: c.float() for g, c in zip(alike, channels, strict=True)}
    return found


def _score(scoring: Scoring, combine: Combine) -> Scores:
    domains = {domain: second_order(scoring, batches) for domain, batches in scoring.by_domain}
    return combined(domains, [group for group, _ in scoring.groups], combine)


def _combine_alike(tables: Sequence[torch.Tensor], combine: Combine) -> list[torch.Tensor]:
    """Normalise ``(domains, units)`` of all groups of a kind together, and combine domains."""
    joined = torch.cat(list(tables), 1).double()
    means = joined.mean(1, keepdim=True).clamp_min(torch.finfo(joined.dtype).tiny)
    return list(combine(joined / means).split([table.shape[1] for table in tables]))


def _ranks(table: torch.Tensor) -> torch.Tensor:
    """Return the rank of every entry in its row, from 1 / length to 1; equals share the mean."""
    ordered = table.sort(1).values
    below = torch.searchsorted(ordered, table)
    up_to = torch.searchsorted(ordered, table, right=True)
    return (below + up_to + 1) / (2 * table.shape[1])
