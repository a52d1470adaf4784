"""``bench``: measure models side by side, each in a process of its own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

from edgeprune.benchmarking import choice, context, results, runtimes, scenarios
from edgeprune.benchmarking.candidates import Candidate, Source, find, loadable
from edgeprune.benchmarking.conditions import Watch
from edgeprune.benchmarking.energy import metered
from edgeprune.benchmarking.groups import Setup
from edgeprune.benchmarking.layers import by_layer
from edgeprune.benchmarking.rounds import ORDINARY
from edgeprune.benchmarking.runtimes.base import ExportedFor
from edgeprune.benchmarking.scenarios.base import Options, Outcome
from edgeprune.benchmarking.stopping import PRECISION_TARGET, StopRule
from edgeprune.benchmarking.workers import SubprocessWorker, WorkerFactory
from edgeprune.devices import device_name, profile_of
from edgeprune.environment import available_cores
from edgeprune.errors import UnavailableError, UsageError, one_of
from edgeprune.machine import called, detect, find_board, is_device
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import BenchResult, PreprocessingTimes

if TYPE_CHECKING:
    from edgeprune.benchmarking.workers import ProfilingWorker
    from edgeprune.model import DenseOptions

# So many threads are accepted for a core, and so many where there are few cores.
THREADS_PER_CORE = 4
LEAST_THREAD_LIMIT = 64
# Of ONNX files; what is no file is measured in the first.
PRECISIONS = ("fp32", "fp16", "int8")


def bench(
    candidates: Sequence[Candidate | str | Path],
    *,
    baseline: Candidate | str | Path | None = None,
    runtime: str | None = None,
    device: str = "cpu",
    precision: str | None = None,
    batches: Sequence[int] | None = None,
    threads: int | None = None,
    min_time_s: float = 3.0,
    max_time_s: float | None = None,
    precision_target: float | None = PRECISION_TARGET,
    scenario: str = "latency",
    period_s: float | None = None,
    duration_s: float | None = None,
    images: Path | None = None,
    per_layer: bool = False,
    huge_pages: bool = False,
    seed: int = 0,
    dense: DenseOptions | None = None,
    progress: Progress = SILENT,
    start: WorkerFactory | None = None,
    root: Path = Path("/"),
) -> BenchResult:
    """Measure latency, throughput and memory of models, and their speed-up over a baseline.

    For each batch size every model gets a process of its own. After a warm-up they take turns
    in rounds of random order, so that whatever the machine does meanwhile meets all of them.

    Args:
        candidates: timm names, artifact directories, ONNX files or engines.
        baseline: what they are compared with; measured in the same rounds.
        runtime: ``onnxruntime`` or ``onnxruntime-tensorrt`` (models are exported to a scratch file
            first), ``torch`` or ``torch-compile``; for engines ``tensorrt`` or ``trtexec``. None
            means ``onnxruntime``, and for the profile of a Jetson the one of the last two that
            works here.
        device: ``cpu``, ``cuda``, or a device profile that is this machine, by name or by file.
        precision: which all models have to be in; None takes a file as it is, and all else in
            ``fp32``.
        batches: batch sizes, each measured on its own; None means 1, and in the scenario
            ``throughput`` powers of two.
        threads: compute threads of every library; None means all available cores.
        min_time_s: seconds of timed calls per model and batch size, at least.
        max_time_s: and at most; None means ten times the least.
        precision_target: measuring ends when the half width of the interval on every median,
            relative to the median, is no more; None ends it after ``min_time_s``.
        scenario: ``latency`` (call after call), ``throughput`` (growing batch sizes until it is
            saturated), ``paced`` (a call every ``period_s``) or ``sustained`` (load for
            ``duration_s`` without a pause, one model after the other).
        period_s: seconds from one request to the next.
        duration_s: seconds of load.
        images: a folder; what becomes of its images before a model sees them is timed too.
        per_layer: whether models are run once more afterwards, with the runtime's profiler on, to
            tell what each layer takes.
        huge_pages: whether processes get their memory in large pages, where the system has them for
            who asks. Where a process's pages lie makes one of two copies of a model slower by some
            percent; in large pages they are alike, and a little faster than what a program that
            does not ask will see.
        seed: of the inputs, the order in the rounds and the intervals.
        dense: how timm models are made; None means with random weights.
        progress: where to show how far it is.
        start: makes a worker from a job; None means the runtime's own, another one stands in for
            the processes in tests.
        root: where /proc, /sys and /etc are looked up; another one stands for another machine.

    Raises:
        UsageError: for a value that is not accepted, or models and runtime that do not go together.
        ModelError, ArtifactError: if a model is unknown, damaged, or cannot run.
        UnavailableError: if the runtime or device is not here, or a measuring process dies.
        DataError: if ``images`` holds none, or one that cannot be read.
    """
    if runtime is not None:
        runtimes.check(runtime)
    if precision is not None:
        one_of(precision, "precision", PRECISIONS)
    scene = scenarios.get(scenario)
    options = Options(batches, period_s, duration_s)
    options.check(scenario, scene.NEEDS)
    if baseline is not None and not scene.COMPARES:
        raise UsageError(f"--baseline is not for --scenario {scenario}: models do not take turns")
    target = resolve_device(device, root)
    threads = check_settings(batches, threads)
    check_threads(threads, available_cores(), "this machine")
    rule = StopRule.of(min_time_s, max_time_s, precision_target)
    options.check_period(rule.max_time_s)
    wanted = gather(candidates, baseline, dense)
    pictures = _images(images) if images is not None else []
    chosen = choice.choose(runtime, device)
    if per_layer:
        _check_profiling(chosen.runtime, target)
    module, program = runtimes.get(chosen.runtime), runtimes.program(chosen.runtime)
    if program is not None:
        one_of(scenario, f"scenario for --runtime {chosen.runtime}", program.SCENARIOS)
    sources = find(wanted, module.FORMAT, chosen.runtime)
    exporter: object = module
    if isinstance(exporter, ExportedFor) and any(source.file is None for source in sources):
        exporter.check_device(target)
    _check_precision(sources, precision)
    environment = context.describe(threads, module.PACKAGES, root)
    environment["runtime"] = dataclasses.asdict(chosen)
    environment["huge_pages"] = huge_pages
    if program is not None:
        told = program.facts()
        environment[chosen.runtime] = told
        # Among the versions the gate sees that it is another one than the baseline's.
        environment["versions"][chosen.runtime] = told["version"]
    with loadable(sources, module.FORMAT, progress) as ready, metered(target, root) as energy:
        environment["energy"] = energy.facts
        watch = Watch(root)
        setup = Setup(
            sources=ready,
            runtime=chosen.runtime,
            device=device_name(device),
            target=target,
            threads=threads,
            seed=seed,
            rule=rule,
            progress=progress,
            start=start or (program.start if program is not None else SubprocessWorker),
            watch=watch,
            energy=energy,
            huge_pages=huge_pages,
            baseline=sources[0].label if baseline is not None else None,
            rhythm=program.RHYTHM if program is not None else ORDINARY,
            precision=precision,
            board=root if target == "cuda" and find_board(root) is not None else None,
        )
        outcome = scene.measure(setup, options)
        environment |= {"during": watch.facts(), **energy.seen()}
        if per_layer:
            _add_layers(outcome, setup.start, progress)
    if pictures:
        _add_preprocessing(outcome, pictures)
    return results.summarise(
        outcome.measured,
        baseline=setup.baseline,
        environment=environment,
        seed=seed,
        scenario=scenario,
        period_ms=period_s * 1000 if period_s is not None else None,
        duration_s=duration_s,
        saturation=outcome.saturation,
        notes=outcome.warnings,
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


def _check_profiling(runtime: str, target: str) -> None:
    runtimes.get_profiling(runtime)
    if target != "cpu":
        raise UsageError(f"--per-layer is not for device {target!r}; accepted: cpu")


def _check_precision(sources: Sequence[Source], precision: str | None) -> None:
    """Refuse what is sure to be in another precision; a file tells its own once it is loaded."""
    models = [source.label for source in sources if source.file is None]
    if precision not in (None, PRECISIONS[0]) and models:
        raise UsageError(
            f"precision {precision!r} was asked for, {models[0]!r} is measured in {PRECISIONS[0]}",
            hint=f"edgeprune export --precision {precision} makes a file to measure",
        )


def _add_layers(outcome: Outcome, start: WorkerFactory, progress: Progress) -> None:
    """Profile every model at every batch size, each in a process of its own."""
    with TemporaryDirectory(prefix="edgeprune-profile-") as scratch:
        for index, entry in enumerate(outcome.measured):
            progress.say(f"profiling {entry.source.label}, batch {entry.job.batch}")
            with start(entry.job) as worker:
                # The runtime has a profiler: that was asked before anything was measured.
                profile = cast("ProfilingWorker", worker).profile(Path(scratch))
            layers = by_layer(Path(entry.job.source), profile)
            outcome.measured[index] = dataclasses.replace(entry, layers=layers)


def _images(folder: Path) -> list[Path]:
    from edgeprune.benchmarking.preprocessing import find_images

    return find_images(folder)


def _add_preprocessing(outcome: Outcome, images: Sequence[Path]) -> None:
    """Time what the models want done to images, once for all that want the same."""
    from edgeprune.benchmarking.preprocessing import measure

    known: dict[str, PreprocessingTimes] = {}
    silent = []
    for index, entry in enumerate(outcome.measured):
        wanted = entry.loaded.preprocess
        if wanted is None:
            silent.append(entry.source.label)
            continue
        key = json.dumps(wanted, sort_keys=True)
        if key not in known:
            known[key] = measure(images, wanted)
        outcome.measured[index] = dataclasses.replace(entry, preprocessing=known[key])
    for label in dict.fromkeys(silent):
        outcome.warnings.append(f"{label} does not say how its images are prepared: not timed")


def check_settings(batches: Sequence[int] | None, threads: int | None) -> int:
    """Check the numbers, and return how many threads to use.

    Raises:
        UsageError: naming the value that is out of range.
    """
    if batches is not None and (not batches or min(batches) < 1):
        raise UsageError(f"batch {min(batches, default=None)} is not accepted; 1 and more are")
    if threads is not None and threads < 1:
        raise UsageError(f"threads {threads} is not accepted; 1 and more are")
    return threads if threads is not None else available_cores()


def check_threads(threads: int, cores: int, where: str) -> None:
    """Check that a number of threads suits the cores of a machine.

    Far more of them spin against each other until nothing else gets done.

    Raises:
        UsageError: naming the number and the most that is accepted.
    """
    most = max(LEAST_THREAD_LIMIT, THREADS_PER_CORE * cores)
    if threads > most:
        raise UsageError(
            f"threads {threads} is not accepted; 1 to {most} are, with the {cores} cores of {where}"
        )


def resolve_device(device: str, root: Path = Path("/")) -> str:
    """Return ``cpu`` or ``cuda`` for a device name, or a profile's name or file.

    Args:
        device: its name.
        root: where the machine's own files are looked up.

    Raises:
        UsageError: if there is no such device or profile.
        UnavailableError: if the profile is not this machine's.
    """
    profile = profile_of(device)
    if profile is None:
        return device
    here = detect(root)
    if not is_device(here, profile):
        on_cpu = profile.kind == "cpu"
        raise UnavailableError(
            f"no such device here: {called(profile)} was asked for, this is"
            f" {here.cpu if on_cpu else here.name}",
            hint="--device cpu measures on the CPU of this machine" if on_cpu else None,
        )
    return "cpu" if profile.kind == "cpu" else "cuda"


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
