"""``bench``: measure models side by side, each in a process of its own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.benchmarking import context, results, runtimes
from edgeprune.benchmarking.candidates import Candidate, Source, find, loadable
from edgeprune.benchmarking.results import Measured
from edgeprune.benchmarking.rounds import measure
from edgeprune.benchmarking.runtimes.base import Job
from edgeprune.benchmarking.workers import SubprocessWorker, WorkerFactory
from edgeprune.environment import available_cores
from edgeprune.errors import UnavailableError, UsageError, one_of
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import BenchResult

if TYPE_CHECKING:
    from edgeprune.model import DenseOptions

DEVICES = ("cpu", "cuda")


def bench(
    candidates: Sequence[Candidate | str | Path],
    *,
    baseline: Candidate | str | Path | None = None,
    runtime: str = "onnxruntime",
    device: str = "cpu",
    batches: Sequence[int] = (1,),
    threads: int | None = None,
    min_time_s: float = 3.0,
    seed: int = 0,
    dense: DenseOptions | None = None,
    progress: Progress = SILENT,
    start: WorkerFactory = SubprocessWorker,
) -> BenchResult:
    """Measure latency, throughput and memory of models, and their speed-up over a baseline.

    For each batch size every model gets a process of its own. After a warm-up they take turns
    in rounds of random order, so that whatever the machine does meanwhile meets all of them.

    Args:
        candidates: timm names, artifact directories or ONNX files.
        baseline: what they are compared with; measured in the same rounds.
        runtime: ``onnxruntime`` (models are exported to a scratch file first) or ``torch``.
        device: ``cpu``, ``cuda``, or the name of a device profile that is this machine.
        batches: batch sizes, each measured on its own.
        threads: compute threads of every library; None means all available cores.
        min_time_s: seconds of timed calls per model and batch size, at least.
        seed: of the inputs, the order in the rounds and the intervals.
        dense: how timm models are made; None means with random weights.
        progress: where to show how far it is.
        start: makes a worker from a job; another one stands in for the processes in tests.

    Raises:
        UsageError: for a value that is not accepted, or models and runtime that do not go together.
        ModelError, ArtifactError: if a model is unknown, damaged, or cannot run.
        UnavailableError: if the runtime or device is not here, or a measuring process dies.
    """
    module = runtimes.get(runtime)
    target = resolve_device(device)
    threads = check_settings(batches, threads, min_time_s)
    wanted = gather(candidates, baseline, dense)
    sources = find(wanted, module.FORMAT, runtime)
    environment = context.describe(threads, module.PACKAGES)
    measured: list[Measured] = []
    with loadable(sources, module.FORMAT, progress) as ready:
        for batch in dict.fromkeys(batches):
            jobs = [
                Job(
                    name=source.label,
                    runtime=runtime,
                    source=source.path,
                    device=target,
                    batch=batch,
                    threads=threads,
                    seed=seed,
                    dense=source.dense,
                )
                for source in ready
            ]
            measured += _measure_group(
                ready, jobs, device, min_time_s=min_time_s, progress=progress, start=start
            )
    return results.summarise(
        measured,
        baseline=sources[0].label if baseline is not None else None,
        environment=environment,
        seed=seed,
    )


def gather(
    candidates: Sequence[Candidate | str | Path],
    baseline: Candidate | str | Path | None,
    dense: DenseOptions | None,
) -> list[Candidate]:
    """Return all that is to be measured, the baseline first.

    Raises:
        UsageError: if there is no model, or none but the baseline.
    """
    if not candidates:
        raise UsageError("there is no model to measure")
    wanted = [_candidate(entry, dense) for entry in candidates]
    if baseline is not None:
        wanted = _with_baseline(_candidate(baseline, dense), wanted)
    return wanted


def check_settings(batches: Sequence[int], threads: int | None, min_time_s: float) -> int:
    """Check the numbers, and return how many threads to use.

    Raises:
        UsageError: naming the value that is out of range.
    """
    if not batches or min(batches) < 1:
        raise UsageError(f"batch {min(batches, default=None)} is not accepted; 1 and more are")
    if threads is not None and threads < 1:
        raise UsageError(f"threads {threads} is not accepted; 1 and more are")
    if not (math.isfinite(min_time_s) and min_time_s > 0):
        raise UsageError(f"min-time {min_time_s:g} is not accepted; seconds above 0 are")
    return threads if threads is not None else available_cores()


def resolve_device(device: str) -> str:
    """Return ``cpu`` or ``cuda`` for a device name, which may be a profile's.

    Raises:
        UsageError: if there is no such device or profile.
        UnavailableError: if the profile is not this machine's.
    """
    if device in DEVICES:
        return device
    from edgeprune.devices import load_profile, profile_names
    from edgeprune.machine import detect

    one_of(device, "device", dict.fromkeys([*DEVICES, *profile_names()]))
    if load_profile(device).kind == "cpu":
        return "cpu"
    here = detect()
    if here.profile == device or (device == "generic-cuda" and here.kind != "cpu"):
        return "cuda"
    raise UnavailableError(f"no such device here: {device!r} was asked for, this is {here.name}")


def _candidate(entry: Candidate | str | Path, dense: DenseOptions | None) -> Candidate:
    if isinstance(entry, Candidate):
        return entry if entry.dense is not None else dataclasses.replace(entry, dense=dense)
    return Candidate(str(entry), dense)


def _with_baseline(baseline: Candidate, candidates: list[Candidate]) -> list[Candidate]:
    """Put the baseline first; it may also stand among several candidates."""
    others = [candidate for candidate in candidates if candidate != baseline]
    if not others:
        raise UsageError(f"{baseline.reference!r} is both the model and its baseline")
    return [baseline, *others]


def _measure_group(
    sources: Sequence[Source],
    jobs: Sequence[Job],
    device: str,
    *,
    min_time_s: float,
    progress: Progress,
    start: WorkerFactory,
) -> list[Measured]:
    """Measure the jobs of one batch size in interleaved rounds; all workers end with it."""
    with ExitStack() as stack:
        workers = [stack.enter_context(start(job)) for job in jobs]
        # One after the other: loading is heavy, and its peak memory too.
        loaded = [worker.load() for worker in workers]
        recordings = measure(
            workers,
            min_time_s=min_time_s,
            seed=jobs[0].seed,
            progress=progress,
            description=f"measure batch {jobs[0].batch}",
        )
        peaks = [worker.peaks() for worker in workers]
    return [
        Measured(*parts, device)
        for parts in zip(sources, jobs, loaded, recordings, peaks, strict=True)
    ]
