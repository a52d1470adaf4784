"""Plans as files: saved by one run, edited by a person, applied by another."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from edgeprune import families
from edgeprune.errors import PlanError
from edgeprune.families.base import WidthKey
from edgeprune.files import write_text
from edgeprune.model import Model
from edgeprune.pruning.shrink import Keep, without_dropped
from edgeprune.pruning.units import BLOCKS, FLOORS, stage_of
from edgeprune.schema import ArtifactRecord, LayerChange, PrunePlan, PruneResult, read_document


def save_plan(result: PruneResult, record: ArtifactRecord, path: Path) -> PrunePlan:
    """Write what a pruning decided as a plan.

    Args:
        result: of the pruning.
        record: of the model.
        path: the JSON file to write.

    Raises:
        OutputError: if ``path`` cannot be written.
    """
    plan = PrunePlan(
        model=record.model,
        family=record.family,
        num_classes=record.num_classes,
        img_size=record.img_size,
        metric=result.metric,
        ratio=result.ratio,
        budget=result.budget,
        scope=result.scope,
        dims=result.dims,
        layers=result.layers,
    )
    write_text(path, plan.to_json())
    return plan


def read_plan(path: Path) -> PrunePlan:
    """Read a plan.

    Raises:
        PlanError: if it is missing, damaged, of another schema, or a width is no whole number.
    """
    return read_document(path, PrunePlan, PlanError)


def widths_of(plan: PrunePlan, model: Model) -> Keep:
    """Return the units that stay, after checking that the plan fits the model.

    Layers that the plan does not list keep their width.

    Raises:
        PlanError: naming the layer and what would be accepted.
    """
    _check_model(plan, model.record)
    family = families.of(model.record.model)
    present: dict[WidthKey, int] = {
        (width.name, width.dim): width.width for width in family.widths(model.module)
    }
    blocks = family.blocks(model.module)
    present |= {(path, BLOCKS): 1 for path in blocks}
    prunable = {(group.name, dim) for group in family.groups(model.module) for dim in group.dims}
    prunable |= {(path, BLOCKS) for path in blocks}
    for layer in plan.layers:
        _check_layer(layer, present, prunable)
    keep = {(layer.name, layer.dim): layer.after for layer in plan.layers}
    _check_stages({(path, BLOCKS): keep.get((path, BLOCKS), 1) for path in blocks})
    return without_dropped(keep)


def _check_model(plan: PrunePlan, record: ArtifactRecord) -> None:
    def named(facts: PrunePlan | ArtifactRecord) -> str:
        return f"{facts.model!r} with {facts.num_classes} classes at {facts.img_size} px"

    if named(plan) != named(record):
        raise PlanError(f"the plan is for {named(plan)}; the model is {named(record)}")


def _check_layer(
    layer: LayerChange, present: Mapping[WidthKey, int], prunable: set[WidthKey]
) -> None:
    key = (layer.name, layer.dim)
    if key not in present:
        known = [".".join(other) for other in present]
        near = difflib.get_close_matches(".".join(key), known, n=1)
        raise PlanError(
            f"the plan names layer {layer.name!r} with dimension {layer.dim!r}, which the model"
            " does not have",
            hint=f"did you mean {near[0]!r}?" if near else None,
        )
    where, width = f"layer {layer.name!r}, dimension {layer.dim!r}", present[key]
    if layer.before != width:
        raise PlanError(f"{where}: the plan says {layer.before} before, the model has {width}")
    if layer.after > width:
        raise PlanError(f"{where}: {layer.after} is not accepted; at most {width}, as it is now")
    floor = 0 if layer.dim == BLOCKS else min(FLOORS[layer.dim], width)
    if layer.after < floor:
        raise PlanError(f"{where}: {layer.after} is not accepted; at least {floor}")
    if layer.after != width and key not in prunable:
        raise PlanError(f"{where}: it cannot be pruned in this model; {width} is accepted")


def _check_stages(blocks: Keep) -> None:
    stages: dict[str, int] = {}
    for (path, _), left in blocks.items():
        stages[stage_of(path)] = stages.get(stage_of(path), 0) + left
    for stage, left in stages.items():
        if not left:
            raise PlanError(f"the plan drops every block of {stage!r}; at least one must stay")
