"""The tables as LaTeX: ``table*`` environments to ``\\input`` into a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgeprune.reporting.sweep.cells import Cell
from edgeprune.reporting.sweep.document import SweepReport
from edgeprune.reporting.sweep.failures import failures
from edgeprune.reporting.sweep.tables import Table, tables

WIDE_COLUMNS = 10

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def latex(data: SweepReport) -> str:
    """Return every table as a ``table*`` environment; needs booktabs, and graphicx where wide."""
    made = tables(data)
    packages = "booktabs" + (", graphicx" if any(map(_wide, made)) else "")
    head = [
        f"% {escape(data.title)}: {escape(data.progress)}",
        f"% Written by edgeprune {data.versions['edgeprune']}; needs \\usepackage{{{packages}}}",
        *(f"% warning: {escape(warning)}" for warning in data.warnings),
    ]
    lost = [escape(text) for text in failures(data)]
    bodies = [
        _environment(table, data, lost if index == 0 else []) for index, table in enumerate(made)
    ]
    return "\n\n".join(["\n".join(head), *bodies]) + "\n"


def escape(text: str) -> str:
    """Make any text LaTeX text that prints as it stands."""
    escaped = "".join(_ESCAPES.get(character, character) for character in text)
    return re.sub(r"(?<![\w-])([-+])(?=\d)", r"$\1$", escaped)


def _wide(table: Table) -> bool:
    return len(table.columns) > WIDE_COLUMNS


def _environment(table: Table, data: SweepReport, lost: Sequence[str]) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", data.title.lower()).strip("-") or "sweep"
    caption = ". ".join([f"{data.title}: {table.title}", *table.caption]) + "."
    lines = [
        r"\begin{table*}[t]",
        r"\centering",
        r"\small",
        r"\setlength{\tabcolsep}{4pt}",
        f"\\caption{{{escape(caption)}}}",
        f"\\label{{tab:{slug}-{table.name}}}",
        *([r"\resizebox{\textwidth}{!}{%"] if _wide(table) else []),
        f"\\begin{{tabular}}{{{'l' * table.texts}{'r' * (len(table.columns) - table.texts)}}}",
        r"\toprule",
        f"{' & '.join(map(escape, table.columns))} \\\\",
    ]
    for index, cells in enumerate(table.rows):
        start = index in table.starts
        if start:
            lines.append(r"\midrule")
        shown = cells if start else [Cell(""), *cells[1:]]
        lines.append(f"{' & '.join(map(_cell, shown))} \\\\")
    lines += [r"\bottomrule", r"\end{tabular}" + ("}" if _wide(table) else "")]
    if lost:
        lines += [r"\par\medskip", r"\begin{minipage}{\textwidth}\footnotesize Failed trials:"]
        lines += [f"\\par {text}" for text in lost]
        lines.append(r"\end{minipage}")
    return "\n".join([*lines, r"\end{table*}"])


def _cell(cell: Cell) -> str:
    value = escape(cell.value)
    if cell.bold:
        value = f"\\textbf{{{value}}}"
    error = f" $\\pm$ {escape(cell.error)}" if cell.error else ""
    note = f" {{\\footnotesize({escape(cell.note)})}}" if cell.note else ""
    return value + error + note
