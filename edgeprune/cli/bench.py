"""``edgeprune bench``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import app, options
from edgeprune.cli.bench_lines import draw_lines
from edgeprune.cli.estimate_table import draw_estimates
from edgeprune.cli.render import plain, quiet_stdout, show, warn
from edgeprune.errors import UsageError
from edgeprune.figures import count, significant

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.schema import BenchResult, Comparison, Measurement

RUNTIME = "onnxruntime"
SCENARIO = "latency"
SUSTAINED = "sustained"
MIN_TIME_S = 3.0
PRECISION_TARGET = "1%"
REMOTE_PYTHON = "python3"
ABOUT_MEASURING_HERE = ("period", "duration", "images", "per_layer")
ABOUT_STOPPING = ("min_time", "max_time", "precision_target")
ABOUT_MEASURING = (
    *ABOUT_MEASURING_HERE,
    "threads",
    "scenario",
    *ABOUT_STOPPING,
)


@app.command("bench")
def bench(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL_OR_FILE...",
            help="timm model names, artifact directories, .onnx files, .engine files.",
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
        typer.Option(
            help="onnxruntime (models are exported first; the default), onnxruntime-tensorrt,"
            " torch (eager), torch-compile; for engines tensorrt, trtexec. Default for a Jetson:"
            " the one of these two that works."
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu, cuda, or a device profile. Default: cpu; for engines (--runtime): cuda."
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="USER@HOST[:PORT]",
            help="Measure there, over ssh: onnxruntime, or tensorrt through trtexec.",
        ),
    ] = None,
    remote_python: Annotated[
        str, typer.Option(metavar="COMMAND", help="The Python interpreter on --host.")
    ] = REMOTE_PYTHON,
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
        list[int] | None,
        typer.Option(help="Batch size; repeatable. Default: 1; for throughput 1, 2, 4, ... 256."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Compute threads of every library. Default: all available cores."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, fp16, int8: what is measured has to be in it; with --host and tensorrt,"
            " what fp32 files are built for. Default: a file's own, else fp32. Estimates of a"
            " Jetson: fp16 (their default), fp32."
        ),
    ] = None,
    min_time: Annotated[
        float,
        typer.Option(
            metavar="S", help="Seconds of timed calls per model and batch size, at least."
        ),
    ] = MIN_TIME_S,
    max_time: Annotated[
        float | None,
        typer.Option(metavar="S", help="And at most. Default: ten times --min-time."),
    ] = None,
    precision_target: Annotated[
        str,
        typer.Option(
            metavar="PERCENT",
            help="Stop between the two when the interval on every median is within this;"
            " none stops after --min-time.",
        ),
    ] = PRECISION_TARGET,
    scenario: Annotated[
        str,
        typer.Option(
            help="latency (call after call), throughput (batch sizes until it is saturated), paced"
            " (a call every --period), sustained (load for --duration)."
        ),
    ] = SCENARIO,
    period: Annotated[
        float | None, typer.Option(metavar="MS", help="From one request to the next, with paced.")
    ] = None,
    duration: Annotated[
        float | None, typer.Option(metavar="S", help="Of the load, with sustained.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Also time decoding, resizing and normalising of these images."
        ),
    ] = None,
    per_layer: Annotated[
        bool,
        typer.Option(
            "--per-layer",
            help="Also profile each model once it is measured, and tell what every layer takes"
            " (onnxruntime, CPU).",
        ),
    ] = False,
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
    from edgeprune.files import check_apart, check_output_file, write_text

    named = [*models, *([baseline] if baseline is not None else [])]
    if output is not None:
        check_output_file(output)
        read = [file for name in named for file in _files_of(name)]
        check_apart([output], [*read, weights, ssh_config])
    if host is None and (ssh_config is not None or remote_python != REMOTE_PYTHON):
        raise UsageError("--ssh-config and --remote-python are for --host")
    _refuse_unused_dense_options(context, named)
    where = device or _default_device(runtime)
    if estimate:
        if host is not None:
            raise UsageError("--host measures, --estimate does not; one of them was expected")
        if given := options.given(context, ABOUT_MEASURING):
            raise UsageError(f"{given[0]} is for measurements; an estimate is of one call")
    else:
        from edgeprune.benchmarking import runtimes
        from edgeprune.benchmarking.choice import takes_engines
        from edgeprune.benchmarking.stopping import parse_precision

        target = parse_precision(precision_target)
        if host is None and precision is not None and takes_engines(runtime, where):
            raise UsageError("an engine has the precision that it was built for: no --precision")
        if host is not None:
            if given := options.given(context, ABOUT_MEASURING_HERE):
                raise UsageError(f"{given[0]} is for what is measured here, not with --host")
            if scenario != SCENARIO:
                raise UsageError(f"--host measures the scenario {SCENARIO!r} alone")
        else:
            if runtime is not None:
                runtimes.check(runtime)
            _refuse_unused_stopping(context, scenario, runtime)
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
                device=where,
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
                    device=where,
                    precision=precision,
                    batches=tuple(batch or [1]),
                    threads=threads,
                    min_time_s=min_time,
                    max_time_s=max_time,
                    precision_target=target,
                    seed=seed,
                ),
                progress=TerminalProgress(),
            )
        else:
            from edgeprune.benchmarking import bench as measure

            result = measure(
                candidates,
                baseline=over,
                runtime=runtime,
                device=where,
                precision=precision,
                batches=batch,
                threads=threads,
                min_time_s=min_time,
                max_time_s=max_time,
                precision_target=target,
                scenario=scenario,
                period_s=period / 1000 if period is not None else None,
                duration_s=duration,
                images=images,
                per_layer=per_layer,
                seed=seed,
                # A bar that redraws by itself would compete with what is measured.
                progress=TerminalProgress(live=False),
            )
        if output is not None:
            write_text(output, result.to_json())
    if not estimate:
        warn(result.warnings)
    show(result, json_, lambda console: (draw_estimates if estimate else _table)(console, result))


def _refuse_unused_dense_options(context: typer.Context, named: Sequence[str]) -> None:
    """Refuse to say how timm models are made where none is. Raises UsageError."""
    from edgeprune.benchmarking.candidates import is_timm_name

    found = options.written(context, options.ABOUT_DENSE)
    if found and not any(is_timm_name(name) for name in named):
        raise UsageError(
            f"{found[0]} is for dense timm models; it needs the name of one, not"
            f" {', '.join(map(repr, named))}"
        )


def _refuse_unused_stopping(context: typer.Context, scenario: str, runtime: str | None) -> None:
    """Refuse to say when measuring ends where --duration does. Raises UsageError."""
    from edgeprune.benchmarking import runtimes

    found = options.written(context, ABOUT_STOPPING)
    program = runtimes.program(runtime) if runtime is not None else None
    # A program that has no such scenario says so by itself, and which ones it has.
    known = program is None or scenario in program.SCENARIOS
    if found and scenario == SUSTAINED and known:
        raise UsageError(
            f"{found[0]} is not for --scenario {scenario}: its load lasts for --duration"
        )


def _files_of(model: str) -> list[Path]:
    """Return the files that make up a model, as far as its name tells."""
    from edgeprune.engines.files import SUFFIX, record_path
    from edgeprune.reporting.collect import RECORD_FILE

    path = Path(model)
    if path.suffix.lower() == SUFFIX:
        return [path, record_path(path)]
    if path.is_dir():
        return [path / RECORD_FILE, *path.glob("*.safetensors")]
    return [path]


def _default_device(runtime: str | None) -> str:
    """Return the GPU for a runtime that measures engines, the CPU for any other."""
    from edgeprune.benchmarking import runtimes
    from edgeprune.benchmarking.choice import takes_engines

    if runtime in runtimes.names() and takes_engines(runtime, "cpu"):
        return "cuda"
    return "cpu"


def _table(console: Console, result: BenchResult) -> None:
    """Draw one row per model and batch, MACs beside measured time: the two differ."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    first = result.measurements[0]
    threads = f"{first.threads} thread{'s' if first.threads > 1 else ''}"
    mixed = len({row.precision for row in result.measurements}) > 1
    shared = [first.runtime, first.device, *([] if mixed else [first.precision]), threads]
    table = Table(
        title=plain(", ".join(shared), "table.title"),
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("model", overflow="fold")
    if mixed:
        table.add_column("preci-\nsion", no_wrap=True)
    headers = ("batch", "p50\nms", "p95\nms", "img/s", "peak\nMB", "MACs", "fewer\nMACs")
    for header in (*headers, "faster\n[95 %]"):
        table.add_column(header, justify="right", no_wrap=True)
    energy = any(row.energy_mj is not None for row in result.measurements)
    if energy:
        table.add_column("mJ per\nimage", justify="right", no_wrap=True)
    compared = {(row.model, row.batch): row for row in result.comparisons}
    for row in result.measurements:
        name, *cells = _cells(row, compared.get((row.model, row.batch)))
        precision = [plain(row.precision)] if mixed else []
        table.add_row(plain(name), *precision, *cells, *([_energy(row)] if energy else []))
    console.print(table)
    draw_lines(console, result)


def _energy(row: Measurement) -> str:
    return significant(row.energy_mj) if row.energy_mj is not None else "-"


def _cells(row: Measurement, comparison: Comparison | None) -> tuple[str, ...]:
    ratio = speedup = ""
    if comparison is not None:
        low, high = comparison.ci95
        speedup = f"{comparison.speedup:.2f}x\n[{low:.2f}, {high:.2f}]"
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
