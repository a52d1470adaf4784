"""The tables as Markdown, and the trials as CSV: one tidy row each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from edgeprune.markdown import escape, table_lines
from edgeprune.reporting.sweep.cells import Cell
from edgeprune.reporting.sweep.document import Speed, SweepReport, TrialLine
from edgeprune.reporting.sweep.failures import failures
from edgeprune.reporting.sweep.tables import Table, tables
from edgeprune.reporting.tables import csv_cell


def markdown(data: SweepReport) -> str:
    """Return headline, progress, tables and failures, for GitHub."""
    lines = [f"# {escape(data.title)}", "", f"**{escape(data.headline)}**", ""]
    if data.headline_rule:
        lines += [escape(data.headline_rule), ""]
    lines += [f"{escape(data.progress)}.", ""]
    lines += [line for text in data.warnings for line in (f"> **Warning:** {escape(text)}", "")]
    for table in tables(data):
        lines += [f"## {table.title}", "", f"{escape('. '.join(table.caption))}.", ""]
        lines += [*_lines(table), ""]
    lost = failures(data)
    if lost:
        lines += ["## Failed trials", "", *(f"- {escape(text)}" for text in lost), ""]
    return "\n".join(lines)


def _lines(table: Table) -> list[str]:
    cells = [[_cell(cell) for cell in row] for row in table.rows]
    return table_lines([escape(column) for column in table.columns], cells)


def _cell(cell: Cell) -> str:
    text = escape(cell.text())
    return f"**{text}**" if cell.bold else text


def csv_text(data: SweepReport) -> str:
    """Return one row per trial with its provenance; intervals take two columns.

    Columns that hold groups are named ``group.item``: accuracies by domain, the machine, versions.
    """
    lines = [dict(_flat(trial)) for trial in data.trials]
    names = list(dict.fromkeys(name for line in lines for name in line))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for line in lines:
        writer.writerow([csv_cell(line.get(name)) for name in names])
    return stream.getvalue()


def _flat(trial: TrialLine) -> Iterator[tuple[str, Any]]:
    for name in TrialLine.model_fields:
        value = getattr(trial, name)
        if name == "history":
            continue
        if name == "speeds":
            for speed in value:
                yield from _interval(_speed_column(speed), speed.ci95, speed.speedup)
        elif name.endswith("ci95"):
            yield from _interval(name, value)
        elif isinstance(value, dict):
            yield from ((f"{name}.{key}", item) for key, item in value.items())
        else:
            yield name, value


def _interval(
    name: str, ci95: tuple[float, float] | None, *value: float
) -> Iterator[tuple[str, Any]]:
    low, high = ci95 or (None, None)
    if value:
        yield name, value[0]
    yield f"{name}_low", low
    yield f"{name}_high", high


def _speed_column(speed: Speed) -> str:
    kind = "estimated_speedup" if speed.estimated else "speedup"
    how = f"{speed.runtime}.{speed.device}.{speed.precision}"
    return f"{kind}.{how}.batch{speed.batch}.threads{speed.threads}"
