"""What is left of a model after 95 % are removed still learns: no layer is dead."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from models import CASES, IDS, ONE_OF_EACH, made_small, single_logits
from toy_domains import CLASSES, write_toy_domains

from edgeprune.domains import leave_one_out, open_dataset
from edgeprune.model import DenseOptions, Model, create
from edgeprune.pruning import Calibration, PruneSettings, calibrate, prune

DEPTH = 4
STEPS = 60


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_domains(tmp_path_factory.mktemp("data") / "halves", per_class=6)


def _dense(name: str) -> Model:
    """A small model none of whose parameters is 0, as some of timm's are before training."""
    _, size, extra = CASES[IDS.index(name)]
    with made_small(extra, DEPTH):
        options = DenseOptions(num_classes=len(CLASSES), img_size=size, pretrained=False)
        model = create(name, options)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


@cache
def _calibration(root: Path, name: str) -> Calibration:
    dataset = open_dataset(str(root))
    split = leave_one_out(dataset, "night", seed=0)
    return calibrate(dataset, split, _dense(name).preprocess, samples=24)


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("scope", ["global", "isomorphic"])
@pytest.mark.parametrize("reconstruct", [True, False])
def test_no_layer_is_dead_after_95_percent(
    name: str, scope: str, reconstruct: bool, root: Path
) -> None:
    calibration = _calibration(root, name)
    extra = CASES[IDS.index(name)][2]
    # One ranking over all kinds; the floors of small stages allow less than 95 % of the MACs.
    budget = "macs" if scope == "global" and "depths" not in extra else "channels"
    settings = PruneSettings(
        ratio=0.95, scope=scope, budget=budget, metric="hessian", reconstruct=reconstruct
    )
    with made_small(extra, DEPTH):
        pruned = prune(_dense(name), settings, calibration=calibration)
    module = pruned.model.module.train()
    ((x, y),) = calibration.batches(batch=len(calibration.store.labels))

    optimiser = torch.optim.AdamW(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(STEPS):
        loss = F.cross_entropy(single_logits(module, x), y)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(float(loss))
        if len(losses) == 1:
            for key, parameter in module.named_parameters():
                assert parameter.grad is not None, key
                assert torch.isfinite(parameter.grad).all(), key
                assert parameter.grad.any(), key
        optimiser.step()
    assert losses[-1] < 0.6 * losses[0]
    with torch.no_grad():
        hits = single_logits(module.eval(), x).argmax(1) == y
    assert hits.float().mean() > 0.6  # chance: one in three
