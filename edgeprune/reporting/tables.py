"""The report as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from edgeprune.markdown import escape, table_lines
from edgeprune.reporting.document import ReportData, ReportRow
from edgeprune.reporting.layers import kind_tables
from edgeprune.reporting.wording import (
    choice_text,
    count,
    energy,
    interval,
    machines,
    memory,
    milliseconds,
    points,
    points_interval,
    pruning,
    setting,
)
from edgeprune.selection import ORACLE

# What a spreadsheet would take for the start of a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_text(data: ReportData) -> str:
    """Return one line per row; intervals are split into ``_low`` and ``_high`` columns."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = list(ReportRow.model_fields)
    writer.writerow([column for name in names for column in _columns(name)])
    for row in data.rows:
        writer.writerow([cell for name in names for cell in _cells(name, getattr(row, name))])
    return stream.getvalue()


def _columns(name: str) -> list[str]:
    return [f"{name}_low", f"{name}_high"] if "ci95" in name else [name]


def _cells(name: str, value: Any) -> list[Any]:
    if "ci95" in name:
        return list(value) if value is not None else ["", ""]
    return [csv_cell(value)]


def csv_cell(value: Any) -> Any:
    """Return a value as a CSV cell; text that a spreadsheet would run is quoted."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


def markdown(data: ReportData) -> str:
    """Return the headline, the notes and one table, for GitHub."""
    lines = [f"# {escape(data.title)}", "", f"**{escape(data.headline)}**", ""]
    if data.headline_rule:
        lines += [escape(data.headline_rule), ""]
    lines += choice_lines(data)
    lines += [line for note in data.notes for line in (f"> **Note:** {escape(note)}", "")]
    lines += [line for text in data.warnings for line in (f"> **Warning:** {escape(text)}", "")]
    lines += row_lines(data)
    lines += layer_lines(data)
    lines += ["", DEFINITIONS]
    return "\n".join(lines) + "\n"


def choice_lines(data: ReportData) -> list[str]:
    """Return what was chosen within the budget, as a list."""
    if not data.choices:
        return []
    lines = [f"- {escape(choice_text(choice))}" for choice in data.choices]
    return ["## Within the budget", "", *lines, ""]


def row_lines(data: ReportData) -> list[str]:
    """Return the table of all rows, without memory and energy where no row has them."""
    places = machines(data.rows, data.benches)
    rows = [cells_of(row, machine) for row, machine in zip(data.rows, places, strict=True)]
    shown = [
        index
        for index, name in enumerate(HEADER)
        if name not in WHERE_KNOWN or any(row[index] for row in rows)
    ]
    cells = [[escape(row[index]) for index in shown] for row in rows]
    return table_lines([HEADER[index] for index in shown], cells)


def layer_lines(data: ReportData) -> list[str]:
    """Return a table for each setting: what the models spend in each kind of layer."""
    lines = []
    for table in kind_tables(data.layers):
        rows = [
            [line.model.label, milliseconds(line.model.latency_p50_ms), *map(_kind, line.times)]
            for line in table.lines
        ]
        header = [escape(cell) for cell in ("model", "p50 (ms)", *table.kinds)]
        lines += ["", "## Time by layer, ms", "", f"{escape(table.title)}.", ""]
        lines += table_lines(header, [[escape(cell) for cell in row] for row in rows])
    return lines


def _kind(time: float | None) -> str:
    return milliseconds(time) if time is not None else "none"


HEADER = (
    "model",
    "pruned",
    "params",
    "MACs",
    "MACs ratio",
    "speed-up",
    "latency p50 (ms)",
    "accuracy on target (%)",
    "against dense (points)",
    "source validation (%)",
    "peak memory (MB)",
    "energy (mJ per image)",
    "setting",
)
WHERE_KNOWN = ("peak memory (MB)", "energy (mJ per image)")

DEFINITIONS = (
    "Accuracy on target: on the domain that was left out of training (unseen)."
    " Speed-up: ratio of median latencies, measured unless marked as estimated. Brackets: 95 %"
    " intervals; against dense from a paired bootstrap. Flipped: share of the answers on the target"
    " that differ from the dense model's."
)


def cells_of(row: ReportRow, machine: str = "") -> list[str]:
    """Return the cells of one row, in the order of ``HEADER``; ``machine`` joins the setting."""
    return [
        row.label,
        pruning(row),
        count(row.params),
        count(row.macs),
        f"{row.macs_ratio:.2f}x" if row.macs_ratio is not None else "not known",
        _speedup(row),
        _latency(row),
        _accuracy(row),
        _drop(row),
        f"{row.source_val_accuracy:.1f}" if row.source_val_accuracy is not None else "",
        memory(row),
        energy(row),
        setting(row, machine),
    ]


def _speedup(row: ReportRow) -> str:
    if row.speedup is None:
        return "not measured"
    if row.is_baseline:
        return "1 (baseline)"
    text = f"{row.speedup:.2f}x{_bracket(interval(row.speedup_ci95, 2))}"
    return f"{text} estimated" if row.speedup_estimated else text


def _latency(row: ReportRow) -> str:
    if row.latency_p50_ms is None:
        return "not measured"
    return milliseconds(row.latency_p50_ms) + (" estimated" if row.estimated else "")


def _accuracy(row: ReportRow) -> str:
    if row.target_accuracy is None:
        return row.accuracy_note or "not scored"
    text = f"{row.target_accuracy:.1f}{_bracket(interval(row.target_ci95, 1))} on {row.target}"
    return f"{text}, {ORACLE}" if row.selection == "oracle" else text


def _drop(row: ReportRow) -> str:
    if row.drop_points is None:
        return ""
    text = points(row.drop_points) + _bracket(points_interval(row.drop_ci95))
    return text if row.flipped is None else f"{text}, {row.flipped:.1f} % flipped"


def _bracket(text: str) -> str:
    return f" ({text})" if text else ""
