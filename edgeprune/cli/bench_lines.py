"""What stands below the table of ``bench``: scenarios, copies to a device, preprocessing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeprune.cli.render import plain
from edgeprune.figures import significant
from edgeprune.layer_names import by_kind

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.schema import BenchResult, PerLayer, PreprocessingTimes

# So many kinds of layers have room in a line.
KINDS = 4
ENDINGS = {
    "saturated": "larger batches gain nothing",
    "largest_batch": "still growing at the largest batch that was tried",
    "failed": "the next batch size could not be run",
}


def draw_lines(console: Console, result: BenchResult) -> None:
    """Write what the table has no room for, a line each."""
    for line in bench_lines(result):
        console.print(plain(line))


def bench_lines(result: BenchResult) -> Iterator[str]:
    """Say what was found; nothing for plain latency on the CPU."""
    for found in result.saturation or []:
        faster = f", {found.over_baseline:.2f}x the baseline" if found.over_baseline else ""
        yield (
            f"{found.model}: highest throughput {significant(found.throughput_ips)} img/s at batch"
            f" {found.batch}{faster}; {ENDINGS[found.ended_by]}"
        )
    for row in result.measurements:
        where = f"{row.model}, batch {row.batch}"
        if row.dropped is not None and result.period_ms is not None:
            dropped = f"{row.dropped} were dropped, for the one before was not done"
            yield (
                f"{where}: a request every {result.period_ms:g} ms;"
                f" {dropped if row.dropped else 'none was dropped'}"
            )
        if row.sustained is not None:
            yield (
                f"{where}: after {result.duration_s:g} s of load"
                f" {row.sustained.last_over_first:.1%} of the rate at the start"
            )
        if row.transfer_ms is not None:
            yield (
                f"{where}: copying takes {significant(row.transfer_ms.to_device)} ms to the device,"
                f" {significant(row.transfer_ms.to_host)} ms back, beside the latency"
            )
        if row.per_layer is not None:
            yield f"{where}: {_by_kind(row.per_layer)}"
    prepared = {row.model: row.preprocessing_ms for row in result.measurements}
    for model, times in prepared.items():
        if times is not None:
            yield f"{model}: {_preprocessing(times)}"


def _by_kind(found: PerLayer) -> str:
    shares = by_kind((layer.name, layer.share) for layer in found.layers)
    most = sorted(shares, key=lambda kind: shares[kind], reverse=True)[:KINDS]
    named = ", ".join(f"{kind} {shares[kind]:.1%}" for kind in most)
    return f"most time in {named} (-o FILE keeps all {len(found.layers)} layers)"


def _preprocessing(found: PreprocessingTimes) -> str:
    steps = f"decode {significant(found.decode)}, resize {significant(found.resize)}"
    return (
        f"preparing an image takes {significant(found.total)} ms beside the latency"
        f" ({steps}, normalise {significant(found.normalise)}; {found.images} images)"
    )
