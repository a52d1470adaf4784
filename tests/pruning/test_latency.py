from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
from models import made_small

from edgeprune.errors import PlanError, UnavailableError, UsageError
from edgeprune.families.base import WidthKey
from edgeprune.model import DenseOptions, Model, create
from edgeprune.pruning import PruneSettings, prune
from edgeprune.pruning.latency import MAX_CANDIDATES, Measure, reach_latency
from edgeprune.pruning.measure import open_profile
from edgeprune.pruning.shrink import Keep
from edgeprune.schema import LatencyCandidate

KEY = ("a", "mlp")


class Line:
    """A sequence of one layer that loses ``step`` units at a time; MACs are its width."""

    def __init__(self, width: int, step: int = 1, floor: int = 0) -> None:
        self._width, self._step = width, step
        self.last = (width - floor) // step

    def make(self, step: int) -> Keep:
        return {KEY: self._width - step * self._step}

    def finer(self, step: int) -> None:
        return None


def simulated(full: int, constant: float, noise: tuple[float, ...] = (0.0,)) -> Measure:
    """A machine whose latency is a launch constant and the rest in proportion to MACs."""
    calls: list[int] = []

    def measure(widths: Mapping[WidthKey, int]) -> LatencyCandidate:
        share = constant + (1 - constant) * widths[KEY] / full
        share *= 1 + noise[len(calls) % len(noise)]
        calls.append(widths[KEY])
        return LatencyCandidate(
            macs=widths[KEY],
            params=1,
            latency_ms=10 * share,
            before_ms=10,
            speedup=1 / share,
            ci95=(1 / share, 1 / share),
            samples=100,
        )

    return measure


@pytest.mark.parametrize("constant", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("noise", [(0.0,), (0.02, -0.02), (-0.03, 0.03, 0.01)])
def test_a_target_is_reached_in_few_measurements(
    constant: float, ratio: float, noise: tuple[float, ...]
) -> None:
    measure = simulated(1000, constant, noise)
    found = reach_latency(Line(1000), lambda keep: keep[KEY], ratio, measure, 1000)
    last = found.trace[-1]
    assert 1 / last.speedup == pytest.approx(1 - ratio, rel=0.05)
    assert found.keep[KEY] == last.macs
    assert len(found.trace) <= 4
    assert found.warnings == ()


def test_a_target_below_the_launch_constant_names_the_least() -> None:
    with pytest.raises(PlanError, match=r"4\.00x is out of reach: .* 2\.00x faster"):
        reach_latency(Line(1000), lambda keep: keep[KEY], 0.75, simulated(1000, 0.5), 1000)


def test_floors_that_forbid_the_target_name_the_least() -> None:
    line = Line(1000, floor=600)
    with pytest.raises(PlanError, match=r"1\.67x faster \(6 ms\)"):
        reach_latency(line, lambda keep: keep[KEY], 0.75, simulated(1000, 0.0), 1000)


def test_coarse_rounding_is_said() -> None:
    line = Line(1000, step=300)
    found = reach_latency(line, lambda keep: keep[KEY], 0.5, simulated(1000, 0.0), 1000)
    assert found.keep[KEY] in (400, 700)
    assert "the nearest to 2.00x that rounding allows" in found.warnings[0]


def test_a_machine_that_will_not_settle_is_said() -> None:
    swings = tuple(0.4 * (-1) ** i for i in range(MAX_CANDIDATES))
    with pytest.raises(PlanError, match="no model within 5%") as caught:
        reach_latency(Line(10**6), lambda keep: keep[KEY], 0.5, simulated(10**6, 0, swings), 10**6)
    assert caught.value.hint == "measure on a quiet machine"


def _dense() -> Model:
    options = DenseOptions(num_classes=4, img_size=32, pretrained=False)
    return create("vit_tiny_patch16_224", options)


def _by_macs(dense: int, macs: int) -> LatencyCandidate:
    share = 0.2 + 0.8 * macs / dense
    return LatencyCandidate(
        macs=macs,
        params=1,
        latency_ms=share,
        before_ms=1,
        speedup=1 / share,
        ci95=(1 / share, 1 / share),
        samples=9,
    )


def test_a_latency_budget_prunes_and_leaves_its_trace() -> None:
    dense = _dense()
    macs = dense.record.pruned.macs
    neurons = sum(w.width for w in dense.record.widths if w.dim == "mlp")

    def measure(widths: Mapping[WidthKey, int]) -> LatencyCandidate:
        left = sum(width for (_, dim), width in widths.items() if dim == "mlp")
        return _by_macs(macs, int(macs * (1 / 3 + 2 / 3 * left / neurons)))

    chosen = PruneSettings(ratio=0.3, budget="latency", dims=("mlp",))
    pruned = prune(copy.deepcopy(dense), chosen, measure=measure)
    assert pruned.result.latency[-1].speedup == pytest.approx(1 / 0.7, rel=0.05)
    assert pruned.model.record.made[-1].latency == pruned.result.latency
    assert pruned.result.pruned.macs < macs
    rounds = prune(
        dense, PruneSettings(ratio=0.3, budget="latency", dims=("mlp",), steps=2), measure=measure
    )
    assert rounds.result.latency[-1].speedup == pytest.approx(1 / 0.7, rel=0.05)


def test_a_latency_budget_is_measured_on_the_device_itself() -> None:
    assert open_profile(None) == open_profile("generic-cpu") == "cpu"
    with pytest.raises(UnavailableError, match="jetson-orin-nano") as caught:
        open_profile("jetson-orin-nano")
    assert "on the device itself" in str(caught.value.hint)
    with pytest.raises(UsageError, match="unknown device 'toaster'"):
        open_profile("toaster")
    with pytest.raises(UnavailableError):
        prune(_dense(), PruneSettings(budget="latency", profile="jetson-orin-nano"))
    with pytest.raises(UsageError, match="for a latency budget"):
        PruneSettings(profile="generic-cpu")


@pytest.mark.slow
def test_a_real_model_is_measured_here() -> None:
    with made_small({}, depth=2):
        options = DenseOptions(num_classes=4, img_size=96, pretrained=False)
        dense = create("vit_tiny_patch16_224", options)
    macs = dense.record.pruned.macs
    result = prune(dense, PruneSettings(ratio=0.5, budget="latency")).result
    nearest = min(result.latency, key=lambda row: abs(row.speedup / 2 - 1))
    assert result.pruned.macs == nearest.macs < macs
    assert nearest.ci95[0] <= nearest.speedup <= nearest.ci95[1]
    assert nearest.latency_ms < nearest.before_ms
    assert nearest.samples > 100
