"""The HTML page: one file that opens offline, with no reference to any network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from edgeprune.reporting import wording
from edgeprune.reporting.budget import groups
from edgeprune.reporting.document import LayerWidth, ReportData, ReportModel, ReportRow
from edgeprune.reporting.layers import kind_tables
from edgeprune.reporting.panels import Panel, build_panels
from edgeprune.reporting.picture import Picture, picture
from edgeprune.reporting.plot import draw
from edgeprune.reporting.template import render

FEW_MODELS = 2
DIM_TITLES = {"embed": "embedding", "mlp": "MLP neurons", "heads": "heads", "head_dim": "head dims"}


@dataclass(frozen=True)
class Figure:
    """A panel and its drawings."""

    panel: Panel
    picture: Picture


@dataclass(frozen=True)
class WidthTable:
    """Widths of one model: a line per layer group, a column per dimension."""

    model: ReportModel
    dims: list[str]
    lines: list[tuple[str, list[LayerWidth | None]]]


def html(data: ReportData) -> str:
    """Return the report as one HTML document.

    Raises:
        UnavailableError: if Jinja2 or matplotlib is missing.
    """
    panels, _ = build_panels(data.rows)
    measured = groups(data.rows)
    settings = _settings(data)
    return render(
        "report.html.j2",
        data=data,
        groups=measured,
        judged=list(zip(data.rows, _judged_in(data.rows, measured), settings, strict=True)),
        notes=data.notes,
        figures=[Figure(panel, picture(partial(draw, panel))) for panel in panels],
        not_drawn=_not_drawn(data.rows, panels),
        scored=[model for model in data.models if model.dg is not None],
        domains=_domains(data.models),
        unseen=_common_unseen(data.models),
        more_figures=any(model.dg and model.dg.worst_domain for model in data.models),
        oracle=any(model.dg and model.dg.selection == "oracle" for model in data.models),
        widths=[_width_table(model) for model in data.models if not model.is_dense],
        layers=data.layers,
        kind_tables=kind_tables(data.layers),
        splits=_splits(data.models),
        common=settings[0] if len({*settings}) == 1 else None,
        how=_how(data.rows),
        memory=any(wording.memory(row) for row in data.rows),
        energy=any(wording.energy(row) for row in data.rows),
        few=len(data.models) <= FEW_MODELS,
        dim_titles=DIM_TITLES,
    )


def _judged_in(
    rows: Sequence[ReportRow], measured: Sequence[tuple[str, list[ReportRow]]]
) -> list[str]:
    """Return for each row the numbers of the groups that a choice within a budget has it in."""
    members = [{id(row) for row in own} for _, own in measured]
    return [
        " ".join(str(index) for index, own in enumerate(members) if id(row) in own) for row in rows
    ]


def _not_drawn(rows: Sequence[ReportRow], panels: Sequence[Panel]) -> list[str]:
    drawn = {point.name for panel in panels for point in panel.points}
    found = {}
    for row in rows:
        if row.label in drawn:
            continue
        missing = []
        if row.speedup is None:
            missing.append("speed-up not measured")
        if row.target_accuracy is None:
            missing.append(row.accuracy_note or "not scored")
        found[row.label] = f"{row.label} ({', '.join(missing)})"
    return list(found.values())


def _settings(data: ReportData) -> list[str]:
    """Return how each row was measured, and where if not all were on one machine."""
    places = wording.machines(data.rows, data.benches)
    return [wording.setting(row, where) for row, where in zip(data.rows, places, strict=True)]


def _how(rows: Sequence[ReportRow]) -> str:
    """Say whether the speed-ups of a table were measured, estimated, or some of each."""
    estimated = {bool(r.estimated or r.speedup_estimated) for r in rows if r.runtime is not None}
    if estimated == {True}:
        return "Estimated"
    return "Measured or estimated" if True in estimated else "Measured"


def _domains(models: Sequence[ReportModel]) -> list[str]:
    """Name all domains of all results: targets first, then the others in order."""
    results = [model.dg for model in models if model.dg is not None]
    targets = [name for dg in results for name in dg.held_out if name in dg.domains]
    return list(dict.fromkeys([*targets, *(name for dg in results for name in dg.domains)]))


def _common_unseen(models: Sequence[ReportModel]) -> list[str]:
    """Name the domains that were held out, if they are the same for all results."""
    found = [model.dg.held_out for model in models if model.dg is not None]
    return found[0] if found and all(names == found[0] for names in found) else []


def _splits(models: Sequence[ReportModel]) -> list[str]:
    found = []
    for model in models:
        if model.dg is not None:
            split = model.dg.split
            way = {
                "file": "by file: each source domain was split file by file, and every image of"
                " the target was scored",
                "group": "by group: whole groups (for emoji, every drawing of one emoji) stand on"
                " one side only, and the target was scored on held-out groups",
            }.get(split.by, f"by {split.by}")
            found.append(
                f"{model.dg.dataset}, target {model.dg.target}: {way}"
                f" ({wording.share(split.holdout)} held out, seed {split.seed})."
            )
    return list(dict.fromkeys(found))


def _width_table(model: ReportModel) -> WidthTable:
    dims = list(dict.fromkeys(layer.dim for layer in model.layers))
    lines: dict[str, dict[str, LayerWidth]] = {}
    for layer in model.layers:
        group = layer.name.rpartition(".")[0] or layer.name
        if layer.dim in lines.get(group, {}):
            group = layer.name
        lines.setdefault(group, {})[layer.dim] = layer
    return WidthTable(
        model=model,
        dims=dims,
        lines=[(name, [found.get(dim) for dim in dims]) for name, found in lines.items()],
    )
