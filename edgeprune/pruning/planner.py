"""From scores to a plan: what of a model may go, what it frees, and how much of it stays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from edgeprune import families
from edgeprune.errors import UsageError
from edgeprune.families.base import WidthKey
from edgeprune.model import Model
from edgeprune.progress import SILENT, Progress
from edgeprune.pruning.freed import Freed
from edgeprune.pruning.graph import PruningGraph
from edgeprune.pruning.latency import Measure
from edgeprune.pruning.measure import Bench, open_profile
from edgeprune.pruning.metrics import Scores
from edgeprune.pruning.plan import Planned, plan
from edgeprune.pruning.settings import PruneSettings
from edgeprune.pruning.sizes import Sizes, as_dict, left_of
from edgeprune.pruning.units import BLOCKS, Units, block_units, units_of
from edgeprune.schema import LayerChange, Width


class Planner:
    """Plans for one model, round after round; remembers what it was before the first.

    Args:
        model: whose module is cut in place between plans.
        settings: what to remove.
    """

    def __init__(self, model: Model, settings: PruneSettings) -> None:
        self._module = model.module
        self._record = model.record
        self._settings = settings
        self._family = families.of(model.record.model)
        self._before = self._family.widths(model.module)
        self._blocks = self._family.blocks(model.module)
        self._sizes = Sizes(model.record)

    def check_dims(self) -> list[str]:
        """Return a note for every dimension that was asked for and that the model lacks.

        Raises:
            UsageError: if it has none of them.
        """
        groups = self._family.groups(self._module)
        found = dict.fromkeys(dim for group in groups for dim in group.dims)
        if self._blocks:
            found[BLOCKS] = None
        has = f"model {self._record.model!r} has {', '.join(found)}"
        missing = [dim for dim in self._settings.dims if dim not in found]
        if len(missing) == len(self._settings.dims):
            raise UsageError(f"{', '.join(missing)} cannot be pruned here; {has}")
        return [f"{dim}: cannot be pruned here; {has}" for dim in missing]

    def measuring(
        self, measure: Measure | None, progress: Progress = SILENT
    ) -> AbstractContextManager[Measure | None]:
        """Return what measures: that of the caller, or the bench harness if there is a need.

        Raises:
            UnavailableError: if a latency budget is for another device than this machine.
        """
        settings = self._settings
        if measure is not None or settings.budget != "latency":
            return nullcontext(measure)
        return Bench(
            self._record.model_copy(update={"widths": self._before}),
            device=open_profile(settings.profile),
            threads=settings.threads,
            shrunk=lambda keep: self._sizes.record(self._left(keep)),
            progress=progress,
        )

    def plan(
        self,
        graph: PruningGraph,
        scores: Scores,
        *,
        share: float,
        budget: str,
        measure: Measure | None,
    ) -> Planned:
        """Decide what stays when ``share`` of the original is to be removed."""
        settings = self._settings
        original = as_dict(self._before) | {(path, BLOCKS): 1 for path in self._blocks}
        return plan(
            self._units(graph, scores, original),
            original,
            ratio=share,
            budget=budget,
            scope=settings.scope,
            round_to=settings.round_to,
            cost_of=lambda keep: self._sizes.cost(self._left(keep)),
            dense=self._record.pruned,
            measure=measure,
        )

    def _units(
        self, graph: PruningGraph, scores: Scores, original: Mapping[WidthKey, int]
    ) -> list[Units]:
        settings, module = self._settings, self._module
        freed = Freed(module, self._record.img_size, settings.quantity)
        least = {
            key: math.ceil(width * (1 - settings.max_ratio)) for key, width in original.items()
        }
        units = [
            unit
            for group in graph.groups
            for unit in units_of(
                group,
                scores[group.name],
                settings.dims,
                least,
                freed.group(group, graph.members(group)),
            )
        ]
        if BLOCKS in settings.dims:
            blocks = self._family.blocks(module)
            each = {path: freed.block(path) for path in blocks}
            units += block_units(blocks, graph.groups, scores, each)
        return units

    def changes(self, after: Sequence[Width]) -> list[LayerChange]:
        """List every layer that is left, and the blocks if any could have been dropped."""
        left, blocks = as_dict(after), self._family.blocks(self._module)
        changes = [
            LayerChange(name=old.name, dim=old.dim, before=old.width, after=left[old.name, old.dim])
            for old in self._before
            if (old.name, old.dim) in left
        ]
        if BLOCKS in self._settings.dims or len(blocks) < len(self._blocks):
            changes += [
                LayerChange(name=path, dim=BLOCKS, before=1, after=int(path in blocks))
                for path in self._blocks
            ]
        return changes

    def _left(self, keep: Mapping[WidthKey, int]) -> dict[WidthKey, int]:
        """Return the widths of the model when ``keep`` units of it stay."""
        return left_of(as_dict(self._family.widths(self._module)), keep)
