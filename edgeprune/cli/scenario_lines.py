"""What a scenario other than latency found, below the table of ``bench``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeprune.figures import significant

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.schema import BenchResult

ENDINGS = {
    "saturated": "larger batches gain nothing",
    "largest_batch": "still growing at the largest batch that was tried",
    "failed": "the next batch size could not be run",
}


def draw_scenario(console: Console, result: BenchResult) -> None:
    """Write one line per model on what the scenario is about."""
    for line in scenario_lines(result):
        console.print(line, highlight=False, markup=False)


def scenario_lines(result: BenchResult) -> Iterator[str]:
    """Say what was found, a line each; nothing for latency."""
    for found in result.saturation or []:
        faster = f", {found.over_baseline:.2f}x the baseline" if found.over_baseline else ""
        yield (
            f"{found.model}: highest throughput {significant(found.throughput_ips)} img/s at batch"
            f" {found.batch}{faster}; {ENDINGS[found.ended_by]}"
        )
    for row in result.measurements:
        where = f"{row.model}, batch {row.batch}"
        if row.dropped is not None and result.period_ms is not None:
            yield (
                f"{where}: a request every {result.period_ms:g} ms; {row.dropped} were dropped, for"
                " the one before was not done"
            )
        if row.sustained is not None:
            yield (
                f"{where}: after {result.duration_s:g} s of load"
                f" {row.sustained.last_over_first:.1%} of the rate at the start"
            )
