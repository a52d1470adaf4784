"""``edgeprune bench``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import app, options
from edgeprune.cli.estimate_table import draw_estimates
from edgeprune.cli.render import quiet_stdout, show
from edgeprune.errors import UsageError, one_of
from edgeprune.figures import count, significant

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.schema import BenchResult, Comparison, Measurement

PRECISIONS = ("fp32",)
RUNTIME = "onnxruntime"


@app.command("bench")
def bench(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL_OR_FILE...",
            help="timm model names, artifact directories, .onnx files; with --host .engine files.",
        ),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL_OR_FILE",
            help="Measured in the same rounds; the others' speed-up is over it.",
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="onnxruntime (models are exported first; the default) or torch (eager)."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or a device profile.")] = "cpu",
    host: Annotated[
        str | None,
        typer.Option(
            metavar="USER@HOST[:PORT]",
            help="Measure there, over ssh: onnxruntime, or tensorrt through trtexec.",
        ),
    ] = None,
    remote_python: Annotated[
        str, typer.Option(metavar="COMMAND", help="The Python interpreter on --host.")
    ] = "python3",
    ssh_config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For ssh -F, instead of your own.")
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Measure nothing: estimate from the profile of --device, which need not be here.",
        ),
    ] = False,
    batch: Annotated[
        list[int] | None, typer.Option(help="Batch size; repeatable. Default: 1.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Compute threads of every library. Default: all available cores."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="fp32 (the default); estimates of a Jetson: fp16 (their default), fp32."),
    ] = None,
    min_time: Annotated[
        float,
        typer.Option(
            metavar="S", help="Seconds of timed calls per model and batch size, at least."
        ),
    ] = 3.0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Also write the JSON document here."),
    ] = None,
    num_classes: options.NumClasses = None,
    img_size: options.ImgSize = None,
    pretrained: options.PretrainedForSpeed = False,
    weights: options.Weights = None,
    seed: options.Seed = 0,
    json_: options.Json = False,
) -> None:
    """Measure latency, throughput and memory beside a baseline, or estimate latency."""
    from edgeprune.files import check_output_file, write_text

    if output is not None:
        check_output_file(output)
    if estimate:
        if host is not None:
            raise UsageError("--host measures, --estimate does not; one of them was expected")
        if threads is not None:
            raise UsageError("--threads is for measurements; an estimate has those it is made for")
    elif host is None:
        from edgeprune.benchmarking import runtimes

        runtimes.check(runtime or RUNTIME)
        one_of(precision or PRECISIONS[0], "precision", PRECISIONS)
    with quiet_stdout():
        from edgeprune.benchmarking import Candidate
        from edgeprune.progress import TerminalProgress

        dense = options.dense_if_asked(num_classes, img_size, pretrained, weights, seed)
        candidates = [Candidate(name, dense) for name in models]
        over = Candidate(baseline, dense) if baseline is not None else None
        if estimate:
            from edgeprune.estimating import estimate as estimate_

            result = estimate_(
                candidates,
                device=device,
                baseline=over,
                runtime=runtime,
                precision=precision,
                batches=batch or [1],
                progress=TerminalProgress(),
            )
        elif host is not None:
            from edgeprune.benchmarking.remote import Login, Settings, bench_remote

            result = bench_remote(
                candidates,
                Login(host, remote_python, ssh_config),
                baseline=over,
                settings=Settings(
                    runtime=runtime or RUNTIME,
                    device=device,
                    precision=precision,
                    batches=tuple(batch or [1]),
                    threads=threads,
                    min_time_s=min_time,
                    seed=seed,
                ),
                progress=TerminalProgress(),
            )
        else:
            from edgeprune.benchmarking import bench as measure

            result = measure(
                candidates,
                baseline=over,
                runtime=runtime or RUNTIME,
                device=device,
                batches=batch or [1],
                threads=threads,
                min_time_s=min_time,
                seed=seed,
                # A bar that redraws by itself would compete with what is measured.
                progress=TerminalProgress(live=False),
            )
        if output is not None:
            write_text(output, result.to_json())
    show(result, json_, lambda console: (draw_estimates if estimate else _table)(console, result))


def _table(console: Console, result: BenchResult) -> None:
    """Draw one row per model and batch, MACs beside measured time: the two differ."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    first = result.measurements[0]
    threads = f"{first.threads} thread{'s' if first.threads > 1 else ''}"
    table = Table(
        title=f"{first.runtime}, {first.device}, {first.precision}, {threads}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("model", overflow="fold")
    headers = ("batch", "p50\nms", "p95\nms", "img/s", "peak\nMB", "MACs", "fewer\nMACs")
    for header in (*headers, "faster\n[95 %]"):
        table.add_column(header, justify="right", no_wrap=True)
    compared = {(row.model, row.batch): row for row in result.comparisons}
    for row in result.measurements:
        table.add_row(*_cells(row, compared.get((row.model, row.batch))))
    console.print(table)
    for warning in result.warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False)


def _cells(row: Measurement, comparison: Comparison | None) -> tuple[str, ...]:
    ratio = speedup = ""
    if comparison is not None:
        low, high = comparison.ci95
        speedup = f"{comparison.speedup:.2f}x [{low:.2f}, {high:.2f}]"
        ratio = f"{comparison.macs_ratio:.2f}x" if comparison.macs_ratio is not None else "-"
    return (
        row.model,
        str(row.batch),
        significant(row.latency_ms.p50),
        significant(row.latency_ms.p95),
        significant(row.throughput_ips),
        significant(row.memory_mb.peak_rss),
        count(row.macs) if row.macs is not None else "-",
        ratio,
        speedup,
    )
