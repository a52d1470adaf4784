"""Findings on accuracy: what the measured models score on the domain that was held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeprune.errors import ArtifactError, ResultError, UsageError
from edgeprune.gate.limits import Limits
from edgeprune.gate.pairs import Pair
from edgeprune.gate.speed import finding
from edgeprune.reporting.models import same_score
from edgeprune.result_files import read_finite
from edgeprune.schema import ArtifactRecord, DGResult, EvalResult, Finding, Measurement

# As in edgeprune.artifact, which loads torch.
RECORD_FILE = "edgeprune.json"


def read_evals(paths: Sequence[Path]) -> list[EvalResult]:
    """Read results of ``edgeprune eval --json``. Raises ResultError."""
    return [read_finite(path, EvalResult, ResultError) for path in paths]


def score(
    measurements: Sequence[Measurement],
    pairs: Sequence[Pair],
    limits: Limits,
    evals: Sequence[EvalResult],
) -> list[Finding]:
    """Hold the accuracy of every measured model against the limits, once per model.

    The accuracy is that of an eval result that names the model, else that in the record of the
    artifact that was measured. All models are scored on the same images, so that accuracies are
    compared as they are; the interval tells what they say about other images.

    Raises:
        UsageError: if no model has an accuracy.
        ArtifactError: if the record of an artifact cannot be read.
    """
    baselines = {pair.current.model: pair.baseline for pair in pairs}
    is_baseline = {pair.baseline.model for pair in pairs if pair.interleaved}
    models = {row.model: row for row in measurements if row.model not in is_baseline}
    scores = {model: _score_of(row, evals) for model, row in models.items()}
    if not any(scores.values()):
        raise UsageError(
            f"the accuracy of {', '.join(repr(model) for model in models)} is not known",
            hint="bench an artifact that was fine-tuned, or give --eval FILE, written by"
            " edgeprune eval MODEL --json > FILE",
        )
    found = []
    for model, row in models.items():
        if limits.min_accuracy is not None:
            found.append(_floor(row, scores[model], limits.min_accuracy))
        if limits.max_accuracy_drop is not None:
            baseline = baselines.get(model)
            reference = _score_of(baseline, evals) if baseline is not None else None
            found.append(_drop(row, scores[model], baseline, reference, limits.max_accuracy_drop))
    return found


def _score_of(row: Measurement, evals: Sequence[EvalResult]) -> DGResult | None:
    names = {row.model, row.artifact, row.file}
    named = [result.dg for result in evals if result.model in names]
    if named:
        return named[-1]
    if row.artifact is None or not (Path(row.artifact) / RECORD_FILE).is_file():
        return None
    return read_finite(Path(row.artifact) / RECORD_FILE, ArtifactRecord, ArtifactError).dg


def _floor(row: Measurement, dg: DGResult | None, limit: float) -> Finding:
    if dg is None:
        return _unknown(row, "accuracy", limit, "its accuracy is not known; give --eval FILE")
    return finding(
        row,
        metric="accuracy",
        unit="%",
        current=dg.target_accuracy,
        ci95=dg.target_interval,
        limit=limit,
        verdict="passed" if dg.target_accuracy >= limit else "failed",
    )


def _drop(
    row: Measurement,
    dg: DGResult | None,
    baseline: Measurement | None,
    reference: DGResult | None,
    drop: float,
) -> Finding:
    if dg is None or reference is None:
        who = "its accuracy" if dg is None else "the accuracy of its baseline"
        return _unknown(row, "accuracy_drop", None, f"{who} is not known; give --eval FILE")
    limit = reference.target_accuracy - drop
    if not same_score(dg, reference):
        note = (
            "the two were scored on different data sets, targets or splits,"
            " or their step was selected otherwise"
        )
        return _unknown(row, "accuracy_drop", limit, note)
    return finding(
        row,
        metric="accuracy_drop",
        unit="%",
        against=baseline.model if baseline else None,
        baseline=reference.target_accuracy,
        current=dg.target_accuracy,
        ci95=dg.target_interval,
        limit=limit,
        verdict="passed" if dg.target_accuracy >= limit else "failed",
    )


def _unknown(row: Measurement, metric: str, limit: float | None, note: str) -> Finding:
    return finding(row, metric=metric, unit="%", limit=limit, verdict="inconclusive", note=note)
