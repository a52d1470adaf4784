"""Score, plan, cut: from a model to a smaller one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import torch
from torch import nn

from edgeprune import families
from edgeprune.costs import count
from edgeprune.environment import artifact_versions
from edgeprune.errors import PlanError, UsageError, one_of
from edgeprune.families.base import DIMS, ChannelGroup, WidthKey
from edgeprune.model import Model, rebuild
from edgeprune.progress import SILENT, Progress
from edgeprune.pruning.calibration import Calibration
from edgeprune.pruning.graph import PruningGraph
from edgeprune.pruning.metrics import Scores, Scoring, get_metric, require_data
from edgeprune.pruning.plan import BUDGETS, SCOPES, Planned, plan
from edgeprune.pruning.reconstruct import (
    StreamProjection,
    assign,
    input_moments,
    reader_of,
    refit,
)
from edgeprune.pruning.units import kept_channels, units_of
from edgeprune.schema import Cost, LayerChange, Made, PruneResult, PruneSeconds, Width

T = TypeVar("T")

# Head sizes that TensorRT's fused attention takes (fp16): multiples of 8 up to 256.
FUSED_HEAD_DIMS = range(16, 257, 8)


@dataclass(frozen=True)
class PruneSettings:
    """What to remove.

    Attributes:
        ratio: share to remove, above 0 and below 1, of what ``budget`` names.
        budget: ``channels``, ``params`` or ``macs``.
        metric: name of the selection metric.
        scope: ``global``, ``isomorphic`` or ``local``.
        dims: dimensions to prune: ``embed``, ``heads``, ``head_dim``, ``mlp``.
        round_to: widths become multiples of it (head dims per head).
        max_ratio: largest share removed from one dimension of one layer.
        steps: rounds, each of which scores anew.
        reconstruct: repair in closed form what the cut breaks (needs calibration images).
        seed: for metrics that draw lots.
    """

    ratio: float = 0.5
    budget: str = "channels"
    metric: str = "l1"
    scope: str = "global"
    dims: tuple[str, ...] = ("embed", "heads", "mlp")
    round_to: int = 8
    max_ratio: float = 1.0
    steps: int = 1
    reconstruct: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value. Raises UsageError."""
        if not 0 < self.ratio < 1:
            raise UsageError(f"ratio {self.ratio:g} is not accepted; above 0 and below 1 is")
        if not 0 < self.max_ratio <= 1:
            raise UsageError(f"max ratio {self.max_ratio:g} is not accepted; above 0, up to 1 is")
        one_of(self.budget, "budget", BUDGETS)
        one_of(self.scope, "scope", SCOPES)
        for dim in self.dims:
            one_of(dim, "dimension", DIMS)
        if not self.dims:
            raise UsageError(f"no dimension to prune; accepted: {', '.join(DIMS)}")
        for name, value in (("round-to", self.round_to), ("steps", self.steps)):
            if value < 1:
                raise UsageError(f"{name} {value} is not accepted; 1 or more is")


@dataclass(frozen=True)
class Pruned:
    """A pruned model and how it came about."""

    model: Model
    result: PruneResult


def prune(
    model: Model,
    settings: PruneSettings,
    *,
    calibration: Calibration | None = None,
    progress: Progress = SILENT,
) -> Pruned:
    """Remove whole groups of structure from ``model``, which is changed in place.

    Args:
        model: a dense or pruned model.
        settings: what to remove; ``ratio`` is a share of the model as it is given.
        calibration: images of the source domains, for metrics that need them.
        progress: where to show how far scoring has come.

    Raises:
        UsageError: if the metric is unknown, or needs images and there are none.
        PlanError: if floors forbid the budget.
    """
    chosen = get_metric(settings.metric)
    require_data(chosen, calibration is not None)
    if settings.reconstruct and calibration is None:
        raise UsageError("--reconstruct needs calibration images: --data ROOT --target DOMAIN")
    started = time.perf_counter()
    pruning = _Pruning(model, settings, calibration, progress)
    warnings: tuple[str, ...] = ()
    for step in range(1, settings.steps + 1):
        share = 1 - (1 - settings.ratio) ** (step / settings.steps)
        warnings = pruning.round(share)
    return pruning.finish(warnings, time.perf_counter() - started)


class _Pruning:
    """One pruning under way: the widths it began with, and the time it took."""

    def __init__(
        self,
        model: Model,
        settings: PruneSettings,
        calibration: Calibration | None,
        progress: Progress,
    ) -> None:
        self.model = model
        self.settings = settings
        self.calibration = calibration
        self.progress = progress
        self.family = families.of(model.record.model)
        self.before = self.family.widths(model.module)
        self.seconds = {"score": 0.0, "plan": 0.0, "prune": 0.0}

    def round(self, share: float) -> tuple[str, ...]:
        """Score, plan and cut once, down to ``share`` removed of the original."""
        graph = self._timed(
            "prune",
            lambda: PruningGraph(self.model.module, self.family, self.model.record.img_size),
        )
        scores = self._timed("score", lambda: self._score(graph))
        planned = self._timed("plan", lambda: self._plan(graph, scores, share))
        self._timed("prune", lambda: self._cut(graph, scores, planned))
        return planned.warnings

    def _score(self, graph: PruningGraph) -> Scores:
        batches = self.calibration.batches(self.progress) if self.calibration else ()
        scoring = Scoring(
            module=self.model.module,
            groups=[(group, graph.members(group)) for group in graph.groups],
            batches=batches,
            seed=self.settings.seed,
        )
        scores = get_metric(self.settings.metric).score(scoring)
        for name, values in scores.items():
            if not bool(torch.isfinite(values).all()):
                raise PlanError(
                    f"metric {self.settings.metric!r} gives scores that are not finite at {name!r}"
                )
        return scores

    def _plan(self, graph: PruningGraph, scores: Scores, share: float) -> Planned:
        settings = self.settings
        original = _as_dict(self.before)
        least = {
            key: math.ceil(width * (1 - settings.max_ratio)) for key, width in original.items()
        }
        units = [
            unit
            for group in graph.groups
            for unit in units_of(group, scores[group.name], settings.dims, least)
        ]
        if not units:
            found = dict.fromkeys(dim for group in graph.groups for dim in group.dims)
            raise PlanError(
                f"model {self.model.record.model!r} has no dimension of"
                f" {', '.join(settings.dims)} that can be pruned; it has {', '.join(found)}"
            )
        present = _as_dict(self.family.widths(self.model.module))
        return plan(
            units,
            original,
            ratio=share,
            budget=settings.budget,
            scope=settings.scope,
            round_to=settings.round_to,
            cost_of=lambda widths: self._cost_of({**present, **widths}),
            dense=self.model.record.pruned,
        )

    def _cost_of(self, widths: Mapping[WidthKey, int]) -> Cost:
        record = self.model.record.model_copy(
            update={
                "widths": [Width(name=n, dim=d, width=width) for (n, d), width in widths.items()]
            }
        )
        return count(rebuild(record), record.img_size)

    def _cut(self, graph: PruningGraph, scores: Scores, planned: Planned) -> None:
        stay = {g.name: kept_channels(g, scores[g.name], planned.keep) for g in graph.groups}
        narrowed = [group for group in graph.groups if len(stay[group.name]) < group.channels]
        inner = [group for group in narrowed if group.dims != ("embed",)]
        if self.settings.reconstruct:
            self._refit_readers(graph, inner, stay)
        for group in inner:
            graph.cut(group, _removed(group, stay[group.name]))
        for group in narrowed:
            if group not in inner:
                self._narrow_stream(graph, group, stay[group.name])
        graph.finish()

    def _refit_readers(
        self, graph: PruningGraph, groups: Sequence[ChannelGroup], stay: dict[str, list[int]]
    ) -> None:
        module = self.model.module
        readers = {group.name: reader_of(graph.members(group)) for group in groups}
        assert self.calibration is not None  # checked by prune
        moments = input_moments(module, list(readers.values()), self.calibration)
        for group in groups:
            layer = module.get_submodule(readers[group.name])
            assert isinstance(layer, nn.Linear)
            refit(layer, moments[readers[group.name]], stay[group.name])

    def _narrow_stream(self, graph: PruningGraph, group: ChannelGroup, stay: list[int]) -> None:
        """Drop channels of the residual stream, or project it where that is asked and possible."""
        module = self.model.module
        streams = {stream.group: stream for stream in self.family.streams(module)}
        if not self.settings.reconstruct or group.name not in streams:
            graph.cut(group, _removed(group, stay))
            return
        assert self.calibration is not None  # checked by prune
        stream = streams[group.name]
        projection = StreamProjection(module, stream, len(stay), self.calibration)
        values = projection.weights(graph.members(group))
        graph.cut(group, _removed(group, stay))
        assign(module, values)

    def finish(self, warnings: Sequence[str], total: float) -> Pruned:
        """Count the result and write down how it was made."""
        record = self.model.record
        after = self.family.widths(self.model.module)
        cost = count(self.model.module, record.img_size)
        options = {**asdict(self.settings), "dims": list(self.settings.dims)}
        made = Made(
            command="prune",
            options=options,
            seed=self.settings.seed,
            data=self.calibration.facts if self.calibration else None,
            versions=artifact_versions(),
        )
        pruned = record.model_copy(
            update={
                "widths": after,
                "pruned": cost,
                "parent": record.weights_sha256 or None,
                "made": [*record.made, made],
                "dg": None,
                "history": [],
            }
        )
        result = PruneResult(
            artifact=None,
            model=record.model,
            family=record.family,
            metric=self.settings.metric,
            ratio=self.settings.ratio,
            budget=self.settings.budget,
            scope=self.settings.scope,
            dims=list(self.settings.dims),
            dense=record.pruned,
            pruned=cost,
            layers=_changes(self.before, after),
            warnings=[*warnings, *_head_warnings(after)],
            seconds=PruneSeconds(**self.seconds, total=total),
        )
        return Pruned(Model(self.model.module, pruned), result)

    def _timed(self, part: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        done = work()
        self.seconds[part] += time.perf_counter() - started
        return done


def _removed(group: ChannelGroup, stay: Sequence[int]) -> list[int]:
    kept = set(stay)
    return [channel for channel in range(group.channels) if channel not in kept]


def _as_dict(widths: Sequence[Width]) -> dict[WidthKey, int]:
    return {(width.name, width.dim): width.width for width in widths}


def _changes(before: Sequence[Width], after: Sequence[Width]) -> list[LayerChange]:
    return [
        LayerChange(name=old.name, dim=old.dim, before=old.width, after=new.width)
        for old, new in zip(before, after, strict=True)
    ]


def _head_warnings(widths: Sequence[Width]) -> list[str]:
    odd = sorted({w.width for w in widths if w.dim == "head_dim"} - set(FUSED_HEAD_DIMS))
    if not odd:
        return []
    return [
        f"head sizes {', '.join(map(str, odd))} are outside what TensorRT's fused attention takes"
        " (16 to 256, multiples of 8)"
    ]
