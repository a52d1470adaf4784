"""The table of ``edgeprune bench --estimate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprune.cli.render import plain
from edgeprune.figures import count, significant

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.schema import BenchResult, Comparison, Measurement


def draw_estimates(console: Console, result: BenchResult) -> None:
    """Draw one row per model and batch, each with its interval, and say how far to trust them."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    first = result.measurements[0]
    what = f"Estimated, not measured: {first.runtime}, {first.device}, {first.precision}"
    table = Table(
        title=plain(what, "table.title"),
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("model", overflow="fold")
    headers = ("batch", "ms\n[95 %]", "mostly\nbound by", "MACs", "fewer\nMACs")
    for header in (*headers, "faster\n[95 %]"):
        table.add_column(header, justify="right", no_wrap=True)
    compared = {(row.model, row.batch): row for row in result.comparisons}
    for row in result.measurements:
        table.add_row(plain(row.model), *_cells(row, compared.get((row.model, row.batch))))
    console.print(table)
    for line in _trust(result):
        console.print(plain(line))
    for warning in result.warnings:
        console.print(plain(f"warning: {warning}", "yellow"))


def _cells(row: Measurement, comparison: Comparison | None) -> tuple[str, ...]:
    low, high = row.latency_ms.ci95
    ratio = speedup = ""
    if comparison is not None:
        slow, fast = comparison.ci95
        speedup = f"{comparison.speedup:.2f}x\n[{slow:.2f}, {fast:.2f}]"
        ratio = f"{comparison.macs_ratio:.2f}x" if comparison.macs_ratio is not None else "-"
    return (
        str(row.batch),
        f"{significant(row.latency_ms.p50)}\n[{significant(low)}, {significant(high)}]",
        _bound(row),
        count(row.macs) if row.macs is not None else "-",
        ratio,
        speedup,
    )


def _bound(row: Measurement) -> str:
    """Return what bounds most of the time, and its share."""
    spent: dict[str, float] = {}
    for layer in row.layers or ():
        spent[layer.bound] = spent.get(layer.bound, 0.0) + layer.latency_ms
    most = max(spent, key=lambda bound: spent[bound])
    return f"{most}\n{100 * spent[most] / row.latency_ms.p50:.0f} %"


def _trust(result: BenchResult) -> list[str]:
    """Say how wrong such estimates were, and how they stand to the latency budget."""
    calibration, budget = result.environment["calibration"], result.environment["latency_budget_ms"]
    lines = [
        f"Calibrated on {calibration['source']}. For {calibration['held_out']}, half of"
        f" {calibration['cases']} estimates were off by more than"
        f" {calibration['median_percent']:g} %, 95 % of them by a factor of at most"
        f" {calibration['factor95']:.2f}: the interval."
    ]
    if budget is not None:
        lines.append(f"Latency budget of the profile, {budget:g} ms:")
        for row in result.measurements:
            low, high = row.latency_ms.ci95
            verdict = "within" if high <= budget else "beyond" if low > budget else "undecided"
            lines.append(f"  {row.model}, batch {row.batch}: {verdict}")
    return lines
