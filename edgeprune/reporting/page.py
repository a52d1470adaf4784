"""The HTML page: one file that opens offline, with no reference to any network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from edgeprune.errors import UnavailableError
from edgeprune.reporting import wording
from edgeprune.reporting.document import LayerWidth, ReportData, ReportModel, ReportRow
from edgeprune.reporting.panels import Panel, build_panels
from edgeprune.reporting.plot import DARK, HINT, LIGHT, NARROW, WIDE, draw

FEW_MODELS = 2
DIM_TITLES = {"embed": "embedding", "mlp": "MLP neurons", "heads": "heads", "head_dim": "head dims"}


@dataclass(frozen=True)
class Figure:
    """A panel and its four drawings as data URIs."""

    panel: Panel
    wide_light: str
    wide_dark: str
    narrow_light: str
    narrow_dark: str


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
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise UnavailableError("an HTML report needs Jinja2", hint=HINT) from None
    panels, _ = build_panels(data.rows)
    environment = Environment(
        loader=PackageLoader("edgeprune.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("report.html.j2").render(
        data=data,
        figures=[_figure(panel) for panel in panels],
        not_drawn=_not_drawn(data.rows, panels),
        scored=[model for model in data.models if model.dg is not None],
        domains=_domains(data.models),
        targets={model.dg.target for model in data.models if model.dg is not None},
        widths=[_width_table(model) for model in data.models if not model.is_dense],
        splits=_splits(data.models),
        flat=lambda value: list(_flat(value)),
        common=_common_setting(data.rows),
        how=_how(data.rows),
        w=wording,
        few=len(data.models) <= FEW_MODELS,
        dim_titles=DIM_TITLES,
        minus=lambda text: re.sub(r"(?<![^ ])-(?=\d)", "−", text),
    )
    return text + "\n"


def _figure(panel: Panel) -> Figure:
    return Figure(
        panel,
        wide_light=_uri(draw(panel, LIGHT, WIDE)),
        wide_dark=_uri(draw(panel, DARK, WIDE)),
        narrow_light=_uri(draw(panel, LIGHT, NARROW)),
        narrow_dark=_uri(draw(panel, DARK, NARROW)),
    )


def _uri(svg: str) -> str:
    # Fit for srcset, where a space ends the address: everything but these is percent-encoded.
    return "data:image/svg+xml," + quote(svg, safe="/:;=()!*~@$?,")


def _not_drawn(rows: Sequence[ReportRow], panels: Sequence[Panel]) -> list[str]:
    drawn = {point.row.label for panel in panels for point in panel.points}
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


def _common_setting(rows: Sequence[ReportRow]) -> str | None:
    """Return how all rows were measured, if all were measured alike."""
    settings = {wording.setting(row) for row in rows}
    return settings.pop() if len(settings) == 1 else None


def _how(rows: Sequence[ReportRow]) -> str:
    """Say whether the speed-ups of a table were measured, estimated, or some of each."""
    estimated = {bool(r.estimated or r.speedup_estimated) for r in rows if r.runtime is not None}
    if estimated == {True}:
        return "Estimated"
    return "Measured or estimated" if True in estimated else "Measured"


def _domains(models: Sequence[ReportModel]) -> list[str]:
    """Name all domains of all results: targets first, then the others in order."""
    results = [model.dg for model in models if model.dg is not None]
    targets = [dg.target for dg in results if dg.target in dg.domains]
    return list(dict.fromkeys([*targets, *(name for dg in results for name in dg.domains)]))


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


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Spell nested facts out as pairs of a dotted name and text."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{name}.{index}")
    else:
        yield name, _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | dict):
        return ", ".join(_plain(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
