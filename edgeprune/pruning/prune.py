"""Score, plan, cut: from a model to a smaller one."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from edgeprune import families
from edgeprune.costs import count
from edgeprune.environment import artifact_versions
from edgeprune.errors import PlanError, UsageError
from edgeprune.families.base import ChannelGroup
from edgeprune.families.layers import drop
from edgeprune.fused_attention import head_warnings
from edgeprune.model import Model
from edgeprune.progress import SILENT, Progress
from edgeprune.pruning.alignment import Move, align, unmoved
from edgeprune.pruning.calibration import Calibration
from edgeprune.pruning.graph import PruningGraph
from edgeprune.pruning.latency import Measure
from edgeprune.pruning.metrics import (
    Scores,
    Scoring,
    check_domains,
    get_metric,
    require_data,
)
from edgeprune.pruning.plan import Planned
from edgeprune.pruning.planner import Planner
from edgeprune.pruning.reconstruct import (
    StreamProjection,
    assign,
    input_moments,
    reader_of,
    refit,
)
from edgeprune.pruning.recovery import Recovery
from edgeprune.pruning.settings import PruneSettings
from edgeprune.pruning.shrink import Keep
from edgeprune.pruning.units import BLOCKS, kept_channels
from edgeprune.schema import Made, PruneResult, PruneSeconds

T = TypeVar("T")


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
    reconstruction: Calibration | None = None,
    recovery: Recovery | None = None,
    widths: Keep | None = None,
    measure: Measure | None = None,
    progress: Progress = SILENT,
) -> Pruned:
    """Remove whole groups of structure from ``model``, which is changed in place.

    Args:
        model: a dense or pruned model.
        settings: what to remove; ``ratio`` is a share of the model as it is given.
        calibration: images of the source domains, for metrics that need them.
        reconstruction: images that reconstruction looks at; None: those of ``calibration``.
        recovery: trains between rounds, if the settings ask for it.
        widths: units that stay, from a plan; the settings then only choose which.
        measure: measures a model of given widths for a latency budget; None: with the bench
            harness, on this machine.
        progress: where to show how far it has come.

    Raises:
        UsageError: if the metric needs images (of every source domain) and there are none, or
            the model has none of the dimensions.
        PlanError: if floors forbid the budget.
        UnavailableError: if a latency budget is for another device than this machine.
    """
    chosen = get_metric(settings.metric)
    require_data(chosen, calibration is not None)
    if settings.reconstruct and calibration is None:
        raise UsageError("--reconstruct needs calibration images: --data ROOT --target DOMAIN")
    if settings.recover_steps and recovery is None:
        raise UsageError("--recover-steps needs training images: --data ROOT --target DOMAIN")
    started = time.perf_counter()
    pruning = _Pruning(model, settings, calibration, reconstruction or calibration, progress)
    notes = pruning.planner.check_dims()
    if calibration is not None:
        notes += check_domains(chosen, calibration.counts)
    if widths is not None:
        planned = pruning.round(lambda graph, scores: Planned(widths))
        return pruning.finish(planned, notes, time.perf_counter() - started)
    with pruning.planner.measuring(measure, progress) as measuring:
        for step in range(1, settings.steps + 1):
            last = step == settings.steps
            # Only the last round meets a latency; those before go by MACs.
            budget = "macs" if settings.budget == "latency" and not last else settings.budget
            share = 1 - (1 - settings.ratio) ** (step / settings.steps)
            decide = partial(pruning.planner.plan, share=share, budget=budget, measure=measuring)
            planned = pruning.round(decide)
            if recovery is not None and not last:
                pruning.recover(recovery, step - 1)
    return pruning.finish(planned, notes, time.perf_counter() - started)


class _Pruning:
    """One pruning under way: the widths it began with, and the time it took."""

    def __init__(
        self,
        model: Model,
        settings: PruneSettings,
        calibration: Calibration | None,
        reconstruction: Calibration | None,
        progress: Progress,
    ) -> None:
        self.model = model
        self.settings = settings
        self.calibration = calibration
        self.reconstruction = reconstruction
        self.progress = progress
        self.family = families.of(model.record.model)
        self.planner = Planner(model, settings)
        self.seconds = {"score": 0.0, "plan": 0.0, "prune": 0.0}

    def round(self, decide: Callable[[PruningGraph, Scores], Planned]) -> Planned:
        """Score, plan and cut once."""
        graph = self._timed("prune", self._graph)
        scores = self._timed("score", lambda: self._score(graph))
        planned = self._timed("plan", lambda: decide(graph, scores))
        self._timed("prune", lambda: self._drop_and_cut(graph, scores, planned))
        return planned

    def recover(self, recovery: Recovery, round_: int) -> None:
        """Train between two rounds."""
        recovery.train(self.model.module, round_, self.progress)

    def _graph(self) -> PruningGraph:
        return PruningGraph(self.model.module, self.family, self.model.record.img_size)

    def _score(self, graph: PruningGraph) -> Scores:
        images = self.calibration
        scoring = Scoring(
            module=self.model.module,
            groups=[(group, graph.members(group)) for group in graph.groups],
            batches=images.batches(self.progress) if images else (),
            by_domain=images.by_domain(self.progress) if images else (),
            seed=self.settings.seed,
            dg_lambda=self.settings.dg_lambda,
        )
        scores = get_metric(self.settings.metric).score(scoring)
        for name, values in scores.items():
            if not bool(torch.isfinite(values).all()):
                raise PlanError(
                    f"metric {self.settings.metric!r} gives scores that are not finite at {name!r}"
                )
        return scores

    def _drop_and_cut(self, graph: PruningGraph, scores: Scores, planned: Planned) -> None:
        module = self.model.module
        whole = copy.deepcopy(module) if self.settings.reconstruct else None
        dropped = [name for (name, dim), n in planned.keep.items() if dim == BLOCKS and not n]
        for path in dropped:
            drop(module, path)
        move = self._cut(self._graph() if dropped else graph, scores, planned)
        if whole is not None:
            assert self.reconstruction is not None  # checked by prune
            align(module, whole, self.family, move, self.reconstruction)

    def _cut(self, graph: PruningGraph, scores: Scores, planned: Planned) -> Move:
        """Cut every group; return how tokens of the stream as it was become those it holds now."""
        stay = {g.name: kept_channels(g, scores[g.name], planned.keep) for g in graph.groups}
        narrowed = [group for group in graph.groups if len(stay[group.name]) < group.channels]
        inner = [group for group in narrowed if group.dims != ("embed",)]
        if self.settings.reconstruct:
            self._refit_readers(graph, inner, stay)
        for group in inner:
            graph.cut(group, _removed(group, stay[group.name]))
        move: Move = unmoved  # of the one stream there is; with several, none is aligned
        for group in narrowed:
            if group not in inner:
                move = self._narrow_stream(graph, group, stay[group.name])
        graph.finish()
        return move

    def _refit_readers(
        self, graph: PruningGraph, groups: Sequence[ChannelGroup], stay: dict[str, list[int]]
    ) -> None:
        module = self.model.module
        readers = {group.name: reader_of(graph.members(group)) for group in groups}
        assert self.reconstruction is not None  # checked by prune
        moments = input_moments(module, list(readers.values()), self.reconstruction)
        for group in groups:
            layer = module.get_submodule(readers[group.name])
            assert isinstance(layer, nn.Linear)
            refit(layer, moments[readers[group.name]], stay[group.name])

    def _narrow_stream(self, graph: PruningGraph, group: ChannelGroup, stay: list[int]) -> Move:
        """Drop channels of the residual stream, or project it where that is asked and possible."""
        module = self.model.module
        streams = {stream.group: stream for stream in self.family.streams(module)}
        if not self.settings.reconstruct or group.name not in streams:
            graph.cut(group, _removed(group, stay))
            return lambda tokens: tokens[..., stay]
        assert self.reconstruction is not None  # checked by prune
        stream = streams[group.name]
        projection = StreamProjection(module, stream, len(stay), self.reconstruction)
        values = projection.weights(graph.members(group))
        graph.cut(group, _removed(group, stay))
        assign(module, values)
        return projection.move

    def finish(self, planned: Planned, notes: Sequence[str], total: float) -> Pruned:
        """Count the result and write down how it was made."""
        record = self.model.record
        after = self.family.widths(self.model.module)
        cost = count(self.model.module, record.img_size)
        pruned = record.model_copy(
            update={
                "widths": after,
                "pruned": cost,
                "parent": record.weights_sha256 or None,
                "made": [*record.made, self._made(planned)],
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
            layers=self.planner.changes(after),
            latency=list(planned.trace),
            warnings=[*notes, *planned.warnings, *head_warnings(after)],
            seconds=PruneSeconds(**self.seconds, total=total),
        )
        return Pruned(Model(self.model.module, pruned), result)

    def _made(self, planned: Planned) -> Made:
        images = self.reconstruction if self.settings.reconstruct else None
        return Made(
            command="prune",
            options={
                **asdict(self.settings),
                "dims": list(self.settings.dims),
                "reconstruct_samples": len(images.store) if images else 0,
            },
            seed=self.settings.seed,
            data=self.calibration.facts if self.calibration else None,
            versions=artifact_versions(),
            latency=list(planned.trace),
        )

    def _timed(self, part: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        done = work()
        self.seconds[part] += time.perf_counter() - started
        return done


def _removed(group: ChannelGroup, stay: Sequence[int]) -> list[int]:
    kept = set(stay)
    return [channel for channel in range(group.channels) if channel not in kept]
