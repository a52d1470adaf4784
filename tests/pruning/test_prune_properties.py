"""Whatever is asked of whichever family: a model that runs, reloads and exports, or a reason."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from models import CASES, CLASSES, images, made_small
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edgeprune import artifact, families
from edgeprune.errors import PlanError, UsageError
from edgeprune.exporting import export
from edgeprune.model import DenseOptions, Model, create
from edgeprune.pruning import Pruned, PruneSettings, prune

DEPTH = 2
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
    "steps": st.integers(1, 2),
}
# Heads are as many as the architecture has, twice as many, or one.
HEADS = st.sampled_from(["own", "twice", "one"])

FAMILIES: dict[str, list[int]] = {}
for _index, (_name, _, _) in enumerate(CASES):
    FAMILIES.setdefault(families.of(_name).name, []).append(_index)


@cache
def _arguments(case: int, heads: str) -> dict[str, Any]:
    """Arguments of a small model of a case whose attention has so many heads."""
    name, size, extra = CASES[case]
    if heads == "own":
        return extra
    with made_small(extra, DEPTH):
        record = create(name, DenseOptions(CLASSES, size, pretrained=False)).record
    own = [width.width for width in record.widths if width.dim == "heads"]
    if "depths" in extra:
        stages = extra["num_heads"]
        return {**extra, "num_heads": tuple(2 * n if heads == "twice" else 1 for n in stages)}
    return {**extra, "num_heads": 2 * own[0] if heads == "twice" else 1}


@cache
def _cached(case: int, heads: str) -> Model:
    name, size, _ = CASES[case]
    with made_small(_arguments(case, heads), DEPTH):
        return create(name, DenseOptions(CLASSES, size, pretrained=False))


def _pruned(case: int, heads: str, chosen: dict[str, Any]) -> Pruned | None:
    """Prune a small model; return None where a reason is given for not doing it."""
    dense = _cached(case, heads)
    try:
        model = Model(copy.deepcopy(dense.module), dense.record)
        return prune(model, PruneSettings(**chosen))
    except PlanError as error:
        assert chosen["budget"] != "channels"
        assert "least reachable" in str(error)  # noqa: PT017
    except UsageError as error:
        assert chosen["dims"] == ("head_dim",)
        assert "head_dim cannot be pruned here" in str(error)  # noqa: PT017
    return None


def _flops(model: Model, size: int) -> int:
    """Count a real pass; the plain kernel shows both products of attention to the counter."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.module(images(size, 1))
    return int(counter.get_total_flops())


def _check(pruned: Model, size: int, folder: Path) -> None:
    artifact.save(pruned, folder)
    loaded = artifact.load(folder)
    x = images(size, 2)
    with torch.no_grad():
        logits = pruned.module(x)
        assert torch.isfinite(logits).all()
        assert torch.equal(loaded.module(x), logits)
    assert pruned.record.pruned.macs == pytest.approx(_flops(loaded, size) / 2, rel=0.01)
    assert pruned.record.pruned.params == sum(p.numel() for p in loaded.module.parameters())


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=st.integers(0, len(CASES) - 1), heads=HEADS, chosen=st.fixed_dictionaries(CHOICES))
def test_any_pruning_runs_reloads_and_is_counted_or_says_why_not(
    tmp_path_factory: pytest.TempPathFactory, case: int, heads: str, chosen: dict[str, Any]
) -> None:
    with made_small(_arguments(case, heads), DEPTH):
        done = _pruned(case, heads, chosen)
        if done is None:
            return
        _check(done.model, CASES[case][1], tmp_path_factory.mktemp("pruned") / "artifact")
    result = done.result
    assert all(x.after <= x.before for x in result.layers)
    if chosen["budget"] != "channels":
        before = getattr(result.dense, chosen["budget"])
        reached = getattr(result.pruned, chosen["budget"]) / before
        said = any(note.startswith(f"{chosen['budget']}: ") for note in result.warnings)
        assert said or reached == pytest.approx(1 - chosen["ratio"], rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), heads=HEADS, chosen=st.fixed_dictionaries(CHOICES))
def test_any_pruned_model_exports(
    tmp_path_factory: pytest.TempPathFactory,
    family: str,
    data: st.DataObject,
    heads: str,
    chosen: dict[str, Any],
) -> None:
    case = data.draw(st.sampled_from(FAMILIES[family]))
    with made_small(_arguments(case, heads), DEPTH):
        done = _pruned(case, heads, chosen)
        assume(done is not None)
        assert done is not None
        (file,) = export(done.model, tmp_path_factory.mktemp("pruned") / "onnx").files
    assert file.parity is not None
    assert file.parity.max_abs <= 1e-4
