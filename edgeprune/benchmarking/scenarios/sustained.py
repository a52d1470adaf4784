"""Load without a pause for a long time: what is left of the rate when the device is hot."""

from __future__ import annotations

from contextlib import ExitStack

from edgeprune.benchmarking.candidates import Source
from edgeprune.benchmarking.groups import Setup, energy_per_image_mj, start_workers
from edgeprune.benchmarking.results import Measured
from edgeprune.benchmarking.rounds import WarmUp, recording_of
from edgeprune.benchmarking.scenarios.base import Options, Outcome
from edgeprune.errors import UsageError

NEEDS = ("duration_s",)
COMPARES = False

WINDOWS = 30
LEAST_WINDOW_S = 0.1


def measure(setup: Setup, options: Options) -> Outcome:
    """Load one model after the other, in windows; nothing is warmed up, and nothing compared.

    Raises:
        UsageError: if the duration is too short to be divided.
    """
    window_s = (options.duration_s or 0.0) / WINDOWS
    if window_s < LEAST_WINDOW_S:
        raise UsageError(
            f"duration {options.duration_s:g} is not accepted;"
            f" {WINDOWS * LEAST_WINDOW_S:g} seconds and more are"
        )
    return Outcome(
        [
            _load(setup, source, batch, window_s)
            for batch in dict.fromkeys(options.batches or (1,))
            for source in setup.sources
        ]
    )


def _load(setup: Setup, source: Source, batch: int, window_s: float) -> Measured:
    job = setup.job(source, batch)
    windows = []
    with ExitStack() as stack:
        (started,) = start_workers(stack, setup, [job])
        steps = setup.progress.track(range(WINDOWS), f"load {source.label}", total=WINDOWS)
        for _ in steps:
            windows.append(started.worker.round(window_s, 0.0, rest=False))
            setup.watch.look()
        peaks = started.peaks()
    recording = recording_of(windows, WarmUp(), "duration")
    energy = energy_per_image_mj(setup.energy.meter, recording, batch)
    return Measured(
        source,
        job,
        started.loaded,
        recording,
        peaks,
        setup.device,
        energy_mj=energy,
        window_s=window_s,
    )
