"""Whatever is asked of whichever family: a model that runs and reloads, or a reason."""

from __future__ import annotations

import copy
from functools import cache, partial
from typing import Any
from unittest.mock import patch

import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import CASES, CLASSES, IDS, images, with_depth
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edgeprune import artifact
from edgeprune.errors import PlanError, UsageError
from edgeprune.exporting import export
from edgeprune.model import DenseOptions, Model, create
from edgeprune.pruning import PruneSettings, prune

DIMS = ["embed", "heads", "head_dim", "mlp", "blocks"]
CHOICES = {
    "ratio": st.floats(0.05, 0.97),
    "dims": st.sets(st.sampled_from(DIMS), min_size=1).map(lambda found: tuple(sorted(found))),
    "scope": st.sampled_from(["global", "isomorphic", "local"]),
    "round_to": st.sampled_from([1, 8, 16]),
    "budget": st.sampled_from(["channels", "params", "macs"]),
    "cost": st.sampled_from([None, "macs", "params", "none"]),
    "max_ratio": st.sampled_from([0.6, 1.0]),
    "metric": st.sampled_from(["l1", "random"]),
}


def _shallow(case: int) -> Any:
    """Make every timm model of a case with two blocks, also where an artifact is rebuilt."""
    make = partial(timm.create_model, **with_depth(CASES[case][2], 2))
    return patch("edgeprune.model.timm.create_model", make)


@cache
def _dense(case: int) -> Model:
    name, size, _ = CASES[case]
    with _shallow(case):
        return create(name, DenseOptions(num_classes=CLASSES, img_size=size, pretrained=False))


def _flops(model: Model, size: int) -> int:
    """Count a real pass; the plain kernel shows both products of attention to the counter."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.module(images(size, 1))
    return int(counter.get_total_flops())


def _check(pruned: Model, size: int, folder: Any) -> None:
    artifact.save(pruned, folder)
    loaded = artifact.load(folder)
    x = images(size, 2)
    with torch.no_grad():
        logits = pruned.module(x)
        assert torch.isfinite(logits).all()
        assert torch.equal(loaded.module(x), logits)
    assert pruned.record.pruned.macs == pytest.approx(_flops(loaded, size) / 2, rel=0.01)
    assert pruned.record.pruned.params == sum(p.numel() for p in loaded.module.parameters())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=st.integers(0, len(CASES) - 1), chosen=st.fixed_dictionaries(CHOICES))
def test_any_pruning_runs_reloads_and_is_counted_or_says_why_not(
    tmp_path_factory: pytest.TempPathFactory, case: int, chosen: dict[str, Any]
) -> None:
    dense, size = _dense(case), CASES[case][1]
    with _shallow(case):
        model = Model(copy.deepcopy(dense.module), dense.record)
        try:
            done = prune(model, PruneSettings(**chosen))
        except PlanError as error:
            assert chosen["budget"] != "channels"
            assert "least reachable" in str(error)  # noqa: PT017
            return
        except UsageError as error:
            assert chosen["dims"] == ("head_dim",)
            assert "head_dim cannot be pruned here" in str(error)  # noqa: PT017
            return
        result = done.result
        assert all(x.after <= x.before for x in result.layers)
        _check(done.model, size, tmp_path_factory.mktemp("pruned") / "artifact")
    if chosen["budget"] != "channels":
        before = getattr(result.dense, chosen["budget"])
        reached = getattr(result.pruned, chosen["budget"]) / before
        said = any(note.startswith(f"{chosen['budget']}: ") for note in result.warnings)
        assert said or reached == pytest.approx(1 - chosen["ratio"], rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("case", [0, IDS.index("beit_base_patch16_224")])
@pytest.mark.parametrize("dims", [("embed", "blocks"), ("heads", "head_dim", "mlp")])
def test_pruned_models_export(case: int, dims: tuple[str, ...], tmp_path: Any) -> None:
    dense = _dense(case)
    with _shallow(case):
        model = Model(copy.deepcopy(dense.module), dense.record)
        pruned = prune(model, PruneSettings(ratio=0.5, dims=dims)).model
        (file,) = export(pruned, tmp_path / "onnx").files
    assert file.parity is not None
    assert file.parity.max_abs <= 1e-4
