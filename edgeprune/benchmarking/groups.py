"""Measuring models of one batch size side by side: what every scenario is made of."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.benchmarking.candidates import Source
from edgeprune.benchmarking.conditions import Watch
from edgeprune.benchmarking.energy import Energy
from edgeprune.benchmarking.energy.base import Meter
from edgeprune.benchmarking.results import Measured
from edgeprune.benchmarking.rounds import ORDINARY, Recording, Rhythm, measure
from edgeprune.benchmarking.runtimes.base import Job, Loaded
from edgeprune.benchmarking.stopping import StopRule
from edgeprune.benchmarking.unified_memory import RamWatch
from edgeprune.benchmarking.workers import Peaks, Worker, WorkerFactory
from edgeprune.errors import UsageError
from edgeprune.progress import Progress

# For so many seconds copies to the device are timed, and as many back.
TRANSFER_S = 0.2


@dataclass(frozen=True)
class Setup:
    """What is measured and how; ``device`` as it was asked for, ``target`` what it stands for.

    ``sources`` are ready to load, the baseline first if there is one (``baseline`` is its label).
    Requests come every ``period_s``, or each as soon as the last is done. ``board`` is where the
    files of a machine lie whose CPU and GPU share their memory, None for others and on the CPU. All
    models have to be in ``precision``; None takes them as they are.
    """

    sources: Sequence[Source]
    runtime: str
    device: str
    target: str
    threads: int
    seed: int
    rule: StopRule
    progress: Progress
    start: WorkerFactory
    watch: Watch
    energy: Energy
    baseline: str | None = None
    period_s: float | None = None
    huge_pages: bool = False
    rhythm: Rhythm = ORDINARY
    board: Path | None = None
    precision: str | None = None

    def job(self, source: Source, batch: int) -> Job:
        """Return what the process that measures ``source`` does."""
        return Job(
            name=source.label,
            runtime=self.runtime,
            source=source.path,
            device=self.target,
            batch=batch,
            threads=self.threads,
            seed=self.seed,
            dense=source.dense,
            energy=self.energy.job,
            period_s=self.period_s,
            huge_pages=self.huge_pages,
        )


@dataclass(frozen=True)
class Started:
    """A worker with its model loaded, and what that took of a board's shared memory."""

    worker: Worker
    loaded: Loaded
    taken_bytes: int | None

    def peaks(self) -> Peaks:
        """Return the peak memory so far; of a board's what was taken, where nothing else tells."""
        found = self.worker.peaks()
        if found.device_bytes is not None:
            return found
        return replace(found, device_bytes=self.taken_bytes)


def start_workers(stack: ExitStack, setup: Setup, jobs: Sequence[Job]) -> list[Started]:
    """Start what measures each job, and load its model; all end with the stack.

    Models are loaded one after the other: that is heavy, and its peak memory too. The baseline,
    which is first, comes last: a process that takes its memory first gets the most scattered pages,
    and is slower by some percent for that, which must not flatter what is compared with it. On a
    board, processes start one after the other too, so that each can be told from the others.

    Raises:
        EdgepruneError: what is wrong with a model, the runtime or the device.
    """
    if setup.board is None:
        workers = [stack.enter_context(setup.start(job)) for job in jobs]
        pairs = list(zip(workers, jobs, strict=True))
        started = [Started(worker, _load(worker, job, setup), None) for worker, job in pairs[::-1]]
        return started[::-1]
    started = []
    for job in jobs[::-1]:
        with RamWatch(setup.board) as watch:
            worker = stack.enter_context(setup.start(job))
            loaded = _load(worker, job, setup)
        started.append(Started(worker, loaded, watch.grown_bytes))
    return started[::-1]


def _load(worker: Worker, job: Job, setup: Setup) -> Loaded:
    loaded = worker.load()
    if setup.precision not in (None, loaded.precision):
        raise UsageError(
            f"precision {setup.precision!r} was asked for, {job.name!r} is in {loaded.precision}",
            hint=f"edgeprune export --precision {setup.precision} makes a file in it",
        )
    return loaded


def measure_group(setup: Setup, sources: Sequence[Source], batch: int) -> list[Measured]:
    """Measure models of one batch size in interleaved rounds; all workers end with it.

    Raises:
        EdgepruneError: what is wrong with a model, the runtime or the device.
    """
    jobs = [setup.job(source, batch) for source in sources]
    with ExitStack() as stack:
        started = start_workers(stack, setup, jobs)
        workers = [entry.worker for entry in started]
        recordings = measure(
            workers,
            rule=setup.rule,
            seed=setup.seed,
            period_s=setup.period_s or 0.0,
            rhythm=setup.rhythm,
            progress=setup.progress,
            description=f"measure batch {batch}",
        )
        setup.watch.look()
        transfers = [worker.transfers(TRANSFER_S) for worker in workers]
        peaks = [entry.peaks() for entry in started]
    meter = setup.energy.meter
    rows = zip(sources, jobs, started, recordings, peaks, transfers, strict=True)
    return [
        Measured(
            source=source,
            job=job,
            loaded=entry.loaded,
            recording=recording,
            peaks=peak,
            device=setup.device,
            energy_mj=energy_per_image_mj(meter, recording, batch),
            transfers=copies,
        )
        for source, job, entry, recording, peak, copies in rows
    ]


def energy_per_image_mj(meter: Meter | None, recording: Recording, batch: int) -> float | None:
    """Return the energy of the timed calls over the images in them, None where it is not known."""
    if meter is None:
        return None
    joules, calls = 0.0, 0
    for samples, readings in zip(recording.rounds, recording.energy, strict=True):
        used = meter.joules(*readings) if readings is not None else None
        if used is not None:
            joules += used
            calls += len(samples)
    return 1000 * joules / (calls * batch) if calls else None
