"""Measuring a model and its baseline again, side by side: the way on shared machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.benchmarking import Candidate, bench
from edgeprune.benchmarking.workers import WorkerFactory
from edgeprune.errors import ResultError, UsageError
from edgeprune.gate.pairs import in_words
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import BenchResult, Measurement

if TYPE_CHECKING:
    from edgeprune.model import DenseOptions

# In the device of a result that came from another machine: cpu on board.
FAR = " on "


def choose(result: BenchResult, name: str, model: str | None) -> list[Measurement]:
    """Return the measurements of one model: the one that is named, or the only one.

    The model that others are compared with is not the one that is meant.

    Raises:
        UsageError: if it is not clear which model is meant, or there is no such one.
    """
    baselines = {comparison.baseline for comparison in result.comparisons}
    models = list(dict.fromkeys(row.model for row in result.measurements))
    if model is None:
        others = [found for found in models if found not in baselines]
        if len(others) != 1:
            raise UsageError(
                f"--against compares one model, {name!r} holds {len(others)}:"
                f" {', '.join(others) or 'none'}",
                hint="--model NAME picks one",
            )
        model = others[0]
    if model not in models:
        raise UsageError(f"{name!r} holds no model {model!r}; accepted: {', '.join(models)}")
    return [row for row in result.measurements if row.model == model]


def remeasure(
    wanted: Sequence[Measurement],
    against: str | Path,
    *,
    dense: DenseOptions | None = None,
    min_time_s: float,
    seed: int = 0,
    progress: Progress = SILENT,
    start: WorkerFactory | None = None,
) -> list[BenchResult]:
    """Measure a model and ``against`` interleaved, in every setting of ``wanted``.

    In huge pages: it is the ratio that counts, and no process may be slower for where it lies.

    Raises:
        ResultError: if what lies where the model was is another model by now.
        UsageError, ModelError, ArtifactError, UnavailableError: as :func:`bench`.
    """
    for row in wanted:
        if row.estimated:
            raise UsageError(f"{in_words(row)} is an estimate, which cannot be measured again")
        if FAR in row.device:
            raise UsageError(
                f"{in_words(row)} was measured with --host, --against measures here",
                hint="--baseline BASE.json compares two results of the far machine",
            )
    model = wanted[0].artifact or wanted[0].file or wanted[0].model
    settings = {(row.runtime, row.device, row.threads): None for row in wanted}
    results = []
    for runtime, device, threads in settings:
        rows = [
            row
            for row in wanted
            if (row.runtime, row.device, row.threads) == (runtime, device, threads)
        ]
        result = bench(
            [Candidate(model, dense)],
            baseline=Candidate(str(against), dense),
            runtime=runtime,
            device=device,
            batches=[row.batch for row in rows],
            threads=threads,
            min_time_s=min_time_s,
            precision_target=None,
            huge_pages=True,
            seed=seed,
            progress=progress,
            start=start,
        )
        results.append(_renamed(result, rows))
    return results


def _renamed(result: BenchResult, rows: Sequence[Measurement]) -> BenchResult:
    """Give the model the name it had, and check that it is the same one."""
    (name,) = {comparison.model for comparison in result.comparisons}
    old = {row.batch: row for row in rows}
    for row in result.measurements:
        if row.model == name:
            _check_same_model(row, old[row.batch])
    wanted = rows[0].model
    if any(row.model == wanted for row in result.measurements):
        return result  # the baseline has it; the longer names tell them apart
    return result.model_copy(
        update={
            "measurements": [
                row.model_copy(update={"model": wanted}) if row.model == name else row
                for row in result.measurements
            ],
            "comparisons": [row.model_copy(update={"model": wanted}) for row in result.comparisons],
        }
    )


def _check_same_model(now: Measurement, then: Measurement) -> None:
    for fact in ("precision", "macs", "params", "fingerprint"):
        found, before = getattr(now, fact), getattr(then, fact)
        if found is not None and before is not None and found != before:
            raise ResultError(
                f"{now.artifact or now.file or now.model!r} is not the model that was measured:"
                f" {fact} {found} now, {before} then",
                hint="bench it again; for a timm model, give the --img-size and --num-classes of"
                " the bench",
            )
