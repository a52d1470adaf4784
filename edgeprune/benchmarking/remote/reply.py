"""The one document that comes back from the far machine, and what is made of it here."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from edgeprune.benchmarking import tegrastats, trtexec
from edgeprune.benchmarking.rounds import NS_PER_MS, Recording, WarmUp
from edgeprune.benchmarking.stopping import StoppedBy
from edgeprune.benchmarking.workers import Peaks
from edgeprune.errors import ResultError
from edgeprune.schema import Facts

Nanoseconds = Annotated[int, Field(gt=0)]
# Fewest lines of tegrastats during a model's rounds for which its energy is quoted.
MIN_POWER_SAMPLES = 10


class FarWarmUp(Facts):
    """See :class:`edgeprune.benchmarking.rounds.WarmUp`."""

    calls: int
    call_s: float
    beside_s: float
    rates: list[float]
    spent_s: float
    stop: str


class FarModel(Facts):
    """Raw samples of one model at one batch size, and when its rounds began and ended.

    ``log`` and ``command`` are those of the last run of trtexec.
    """

    rounds: Annotated[list[Annotated[list[Nanoseconds], Field(min_length=1)]], Field(min_length=2)]
    spans_ns: list[tuple[int, int]]
    restless: int
    warmup: FarWarmUp
    peak_rss_bytes: int | None
    stopped_by: StoppedBy
    log: str | None = None
    command: list[str] | None = None

    def recording(self) -> Recording:
        """Return the samples as a local bench has them."""
        return Recording(
            rounds=tuple(np.asarray(r, np.float64) / NS_PER_MS for r in self.rounds),
            warmup=WarmUp(**self.warmup.model_dump()),
            restless=self.restless,
            stopped_by=self.stopped_by,
        )

    def peaks(self) -> Peaks:
        """Return the peak memory of the process; on the device trtexec tells of a part only."""
        return Peaks(self.peak_rss_bytes, None)


class FarResult(Facts):
    """What was measured: groups of models by batch size, and tegrastats' lines with their times."""

    groups: list[list[FarModel]]
    tegrastats: list[tuple[int, str]]


def read_result(raw: dict[str, Any], host: str) -> FarResult:
    """Check what came back.

    Raises:
        ResultError: naming the first thing that cannot be true.
    """
    try:
        return FarResult.model_validate(raw)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ResultError(f"what {host} sent back is damaged: {where}: {first['msg']}") from None


def power_samples(result: FarResult) -> tuple[list[tuple[int, tegrastats.Sample]], list[str]]:
    """Read tegrastats' lines; return also what a reader must know of those that are left out."""
    samples, problems = [], []
    for when, line in result.tegrastats:
        try:
            samples.append((when, tegrastats.parse_line(line)))
        except ResultError as error:
            problems.append(str(error))
    notes = [f"{len(problems)} lines of tegrastats are left out: {problems[0]}"] if problems else []
    return samples, notes


def read_logs(
    models: Sequence[FarModel],
) -> tuple[list[trtexec.TrtexecRun | None], list[str]]:
    """Read trtexec's log of every model, None without one; return also its and our warnings."""
    runs: list[trtexec.TrtexecRun | None] = []
    notes = []
    for model in models:
        try:
            run = trtexec.parse(model.log) if model.log is not None else None
        except ResultError as error:  # the samples do not come from the log
            run = None
            notes.append(str(error))
        runs.append(run)
        notes += [f"trtexec: {warning}" for warning in (run.warnings if run is not None else ())]
    return runs, notes


def energy_mj(
    model: FarModel, batch: int, samples: Sequence[tuple[int, tegrastats.Sample]]
) -> float | None:
    """Return what the whole board used per image, in mJ: its mean power during the model's rounds.

    None where the rails are not known, or too few lines came during the rounds.
    """
    powers = [
        sample.board_mw
        for when, sample in samples
        if any(start <= when <= end for start, end in model.spans_ns)
    ]
    known = [power for power in powers if power is not None]
    if len(known) < MIN_POWER_SAMPLES or len(known) < len(powers):
        return None
    call_s = float(model.recording().samples.mean()) / 1e3
    return statistics.fmean(known) * call_s / batch
