"""How much memory scores by gradient take: what is held at once, not how long."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from models import images, timm_model
from torch.profiler import ProfilerActivity, profile

from edgeprune import families
from edgeprune.pruning.graph import PruningGraph
from edgeprune.pruning.metrics import Scoring, get_metric

NAME, SIZE, BATCH = "deit3_small_patch16_224", 48, 2


def peak_bytes(work: Callable[[], object]) -> int:
    """Most bytes of tensors that were held at once and not before."""
    work()  # what is made once and kept
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    assert profiler.profiler is not None
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


@pytest.mark.filterwarnings("ignore")
def test_scores_hold_one_copy_of_the_parameters_whatever_the_number_of_domains() -> None:
    module = families.of(NAME).adapt(timm_model(NAME, SIZE))
    graph = PruningGraph(module, families.of(NAME), SIZE)
    groups = [(group, graph.members(group)) for group in graph.groups]
    x, y = images(SIZE, BATCH), torch.tensor([0, 1])

    def ordinary() -> None:
        module.zero_grad(set_to_none=True)
        F.cross_entropy(module(x), y).backward()
        module.zero_grad(set_to_none=True)

    def score(metric: str) -> Callable[[], object]:
        by_domain = [(domain, [(x, y)]) for domain in ("day", "dusk", "night", "noon")]
        return lambda: get_metric(metric).score(Scoring(module, groups, [(x, y)], by_domain))

    sizes = [4 * parameter.numel() for parameter in module.parameters()]
    copy, largest = sum(sizes), max(sizes)
    # An ordinary pass ends with one copy of the parameters, its gradients, and little else here.
    usual = peak_bytes(ordinary)
    assert copy < usual < 1.3 * copy
    hessian = peak_bytes(score("hessian"))
    assert copy < hessian < usual + BATCH * largest
    assert peak_bytes(score("dg_min")) < hessian + 0.05 * copy
