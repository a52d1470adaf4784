"""``check``: read, pair, judge, and say whether everything holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.benchmarking.workers import WorkerFactory
from edgeprune.errors import ResultError, UsageError
from edgeprune.gate import accuracy, pairs, speed
from edgeprune.gate.limits import DEFAULT_REGRESSION, Limits
from edgeprune.gate.machines import (
    check_same_machine,
    check_same_scenario,
    distrust,
    identity,
)
from edgeprune.gate.pairs import Matched
from edgeprune.gate.remeasure import choose, remeasure
from edgeprune.gate.settle import MAX_TIME_S, MIN_TIME_S, Measured, settle
from edgeprune.progress import SILENT, Progress
from edgeprune.result_files import read_bench
from edgeprune.schema import BenchResult, CheckResult

if TYPE_CHECKING:
    from edgeprune.model import DenseOptions


def check(
    bench: str | Path,
    *,
    baseline: str | Path | None = None,
    against: str | Path | None = None,
    limits: Limits | None = None,
    evals: Sequence[str | Path] = (),
    strict: bool = False,
    model: str | None = None,
    dense: DenseOptions | None = None,
    min_time_s: float = MIN_TIME_S,
    max_time_s: float = MAX_TIME_S,
    seed: int = 0,
    progress: Progress = SILENT,
    start: WorkerFactory | None = None,
) -> CheckResult:
    """Check measurements against a baseline and limits.

    Args:
        bench: a result of ``edgeprune bench``.
        baseline: an earlier one of the same machine. With neither this nor ``against``, models
            are held against the baseline that was measured beside them in ``bench``.
        against: a model; it and the model in ``bench`` are measured again, side by side.
        limits: what is accepted; None means 10 % more median latency.
        evals: results of ``edgeprune eval``, for models whose artifact does not say its accuracy.
            Every one is judged; each must be of a model that is checked.
        strict: what is inconclusive does not hold.
        model: which model of ``bench``; with ``against`` it must be one.
        dense: how timm models are made, with ``against``.
        min_time_s: seconds of timed calls per model and setting, with ``against``.
        max_time_s: the most of them: what is inconclusive is measured again for twice as long.
        seed: of the intervals and of the order in the rounds.
        progress: where to show how far it is.
        start: makes a worker from a job; another one stands in for the processes in tests.

    Raises:
        ResultError: if a result is missing, damaged, of another schema or of another machine.
        UsageError: if options contradict each other, or there is nothing to check.
        ModelError, ArtifactError, UnavailableError: as ``bench``, with ``against``.
    """
    if baseline is not None and against is not None:
        raise UsageError("--baseline and --against exclude each other")
    result = read_bench(Path(bench))
    if not result.measurements:
        raise ResultError(f"{str(bench)!r} holds no measurement")
    if not (math.isfinite(max_time_s) and max_time_s > 0):
        raise UsageError(f"max-time {max_time_s:g} is not accepted; seconds above 0 are")
    limits = _with_default(limits or Limits(), compares=baseline is not None or against is not None)
    if evals and not limits.scores:
        raise UsageError(
            f"--eval {str(evals[0])!r} is for a limit on accuracy; it needs --min-accuracy X or"
            " --max-accuracy-drop X"
        )
    scores = accuracy.read_evals(Path(path) for path in evals)
    if against is not None:
        if result.scenario != "latency":
            raise UsageError(
                f"{str(bench)!r} is of the scenario {result.scenario!r}; --against measures latency"
            )
        rows = choose(result, str(bench), model)

        def measure(seconds: float, turn: int) -> Measured:
            results = remeasure(
                rows,
                against,
                dense=dense,
                min_time_s=seconds,
                seed=seed + turn,
                progress=progress,
                start=start,
            )
            return _interleaved(results, "the new measurement")

        measured, findings = settle(
            measure, limits, (min_time_s, max_time_s), seed=seed, progress=progress
        )
    else:
        result = _only(result, str(bench), model)
        if baseline is not None:
            measured = _stored(result, bench, baseline, model)
        else:
            measured = _interleaved([result], str(bench))
        if limits.compares and not measured.matched.pairs:
            raise UsageError(
                f"{str(bench)!r} has no baseline to compare with",
                hint="--baseline BASE.json, or --against MODEL_OR_FILE to measure both now",
            )
        findings = speed.compare(measured.matched, limits, seed=seed)
    if limits.scores:
        findings += accuracy.score(
            measured.measurements,
            measured.matched.pairs,
            limits,
            scores,
            str(bench),
            str(baseline or bench),
        )
    bad = {"failed", "inconclusive"} if strict else {"failed"}
    return CheckResult(
        passed=not any(finding.verdict in bad for finding in findings),
        strict=strict,
        interleaved=measured.interleaved,
        findings=findings,
        warnings=measured.warnings,
        machine=identity(measured.environment),
    )


def _with_default(limits: Limits, *, compares: bool) -> Limits:
    """Add the limit on latency that holds unless others are given."""
    if limits.latency or (limits != Limits() and not compares):
        return limits
    default = Limits.parse(max_regression=[DEFAULT_REGRESSION]).latency
    return Limits(**{**vars(limits), "latency": default})


def _only(result: BenchResult, name: str, model: str | None) -> BenchResult:
    """Leave out all models but one and its baseline."""
    if model is None:
        return result
    kept = {row.model for row in choose(result, name, model)}
    comparisons = [row for row in result.comparisons if row.model == model]
    kept |= {row.baseline for row in comparisons}
    rows = [row for row in result.measurements if row.model in kept]
    return result.model_copy(update={"measurements": rows, "comparisons": comparisons})


def _interleaved(results: Sequence[BenchResult], name: str) -> Measured:
    matched = [pairs.within(result, name) for result in results]
    found = [pair for one in matched for pair in one.pairs]
    return Measured(
        measurements=[row for result in results for row in result.measurements],
        matched=Matched(found, missing=[], new=[]),
        interleaved=True if found else None,
        warnings=[warning for result in results for warning in result.warnings],
        environment=results[-1].environment,
    )


def _stored(
    result: BenchResult, bench: str | Path, baseline: str | Path, model: str | None
) -> Measured:
    base = read_bench(Path(baseline))
    check_same_scenario(result, base, str(bench), str(baseline))
    check_same_machine(result.environment, base.environment, str(bench), str(baseline))
    if model is not None:
        rows = [row for row in base.measurements if row.model == model]
        base = base.model_copy(update={"measurements": rows})
    matched = pairs.across(
        result, base, str(bench), str(baseline), distrust(result.environment, base.environment)
    )
    return Measured(
        measurements=result.measurements,
        matched=matched,
        interleaved=False,
        warnings=[
            *(f"{bench}: {warning}" for warning in result.warnings),
            *(f"{baseline}: {warning}" for warning in base.warnings),
            *(f"{pairs.in_words(row)} is new and was not compared" for row in matched.new),
        ],
        environment=result.environment,
    )
