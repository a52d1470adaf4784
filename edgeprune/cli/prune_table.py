"""The table of ``edgeprune prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprune.cli.render import plain
from edgeprune.figures import count

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.schema import LatencyCandidate, LayerChange, PruneResult


def table(console: Console, result: PruneResult) -> None:
    """Draw the cost before and after, one row per kind of dimension, and what to know."""
    from rich.table import Table

    title = f"{result.model}: {result.ratio:.0%} of {result.budget} removed, {result.metric}"
    drawn = Table(title=plain(title, "table.title"), title_justify="left")
    for name, justify in (("", "left"), ("before", "right"), ("after", "right"), ("", "right")):
        drawn.add_column(name, justify=justify)  # type: ignore[arg-type]
    for label, before, after in (
        ("parameters", result.dense.params, result.pruned.params),
        ("MACs", result.dense.macs, result.pruned.macs),
    ):
        drawn.add_row(label, count(before), count(after), f"{before / after:.2f}x fewer")
    for dim in dict.fromkeys(layer.dim for layer in result.layers):
        drawn.add_row(*_row(dim, [layer for layer in result.layers if layer.dim == dim]))
    console.print(drawn)
    if result.latency:
        _trace(console, result.latency)
    for warning in result.warnings:
        console.print(plain("note", "yellow"), plain(f": {warning}"), sep="")
    seconds = result.seconds
    written = f"written to {result.artifact}" if result.artifact else "no artifact written"
    console.print(plain(f"{seconds.total:.1f} s (scoring {seconds.score:.1f} s); {written}"))


def _row(dim: str, layers: list[LayerChange]) -> tuple[str, str, str, str]:
    before, after = [layer.before for layer in layers], [layer.after for layer in layers]
    remark = "" if before != after else "unchanged"
    if dim == "blocks":
        return dim, str(sum(before)), str(sum(after)), remark
    label = f"{dim} ({len(layers)} layers)" if len(layers) > 1 else dim
    return label, _span(before), _span(after), remark


def _trace(console: Console, trace: list[LatencyCandidate]) -> None:
    from rich.table import Table

    drawn = Table(title="measured, batch 1", title_justify="left")
    for name in ("MACs", "ms", "before", "faster", "95 %", "calls"):
        drawn.add_column(name, justify="right", no_wrap=True)
    for row in trace:
        drawn.add_row(
            count(row.macs),
            f"{row.latency_ms:.3g}",
            f"{row.before_ms:.3g}",
            f"{row.speedup:.2f}x",
            f"{row.ci95[0]:.2f} to {row.ci95[1]:.2f}",
            str(row.samples),
        )
    console.print(drawn)


def _span(widths: list[int]) -> str:
    low, high = min(widths), max(widths)
    return str(low) if low == high else f"{low} to {high}"
