"""Findings on accuracy: what the measured models score on the domain that was held out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.errors import ArtifactError, ResultError, UsageError
from edgeprune.gate.limits import Limits
from edgeprune.gate.pairs import Pair
from edgeprune.gate.speed import finding
from edgeprune.reporting.models import same_score
from edgeprune.result_files import check_accuracies, read_finite
from edgeprune.schema import ArtifactRecord, DGResult, EvalResult, Finding, Measurement

# As in edgeprune.artifact, which loads torch.
RECORD_FILE = "edgeprune.json"


@dataclass(frozen=True)
class Eval:
    """A result of ``edgeprune eval --json``, and the file that holds it."""

    path: Path
    result: EvalResult


@dataclass(frozen=True)
class Score:
    """How well a model does, and the file that says so."""

    path: Path
    dg: DGResult


def read_evals(paths: Iterable[Path]) -> list[Eval]:
    """Read results of ``edgeprune eval --json``.

    Raises:
        ResultError: if one is missing or damaged, or holds an accuracy that is no percentage.
    """
    found = [Eval(path, read_finite(path, EvalResult, ResultError)) for path in paths]
    for entry in found:
        check_accuracies(entry.path, entry.result.dg, ResultError)
    return found


def score(
    measurements: Sequence[Measurement],
    pairs: Sequence[Pair],
    limits: Limits,
    evals: Sequence[Eval],
    bench: str = "bench.json",
    base: str = "base.json",
) -> list[Finding]:
    """Hold the accuracy of every measured model against the limits, once per score.

    The accuracies are those of all eval results of the model, else that in the record of the
    artifact that was measured. All models are scored on the same images, so that accuracies are
    compared as they are; the interval tells what they say about other images.

    Args:
        measurements: what is checked.
        pairs: with which baselines.
        limits: what is accepted.
        evals: which :func:`read_evals` has read.
        bench: the file that holds the measurements, for messages.
        base: the file that holds the baselines.

    Raises:
        UsageError: if no model has an accuracy, or an eval result is of no model that was measured,
            or of one of several.
        ResultError: if an eval result is of other weights than those that were measured.
        ArtifactError: if the record of an artifact cannot be read.
    """
    baselines = {pair.current.model: pair.baseline for pair in pairs}
    is_baseline = {pair.baseline.model for pair in pairs if pair.interleaved}
    models = {row.model: row for row in measurements if row.model not in is_baseline}
    measured = [*((bench, row) for row in measurements), *((base, pair.baseline) for pair in pairs)]
    owned = [(entry, _rows_of(entry, measured)) for entry in evals]
    scores = {model: _scores_of(row, owned) for model, row in models.items()}
    if not any(scores.values()):
        raise UsageError(
            f"the accuracy of {', '.join(repr(model) for model in models)} is not known",
            hint="bench an artifact that was fine-tuned, or give --eval FILE, written by"
            " edgeprune eval MODEL --json > FILE",
        )
    found = []
    for model, row in models.items():
        own, baseline = scores[model], baselines.get(model)
        if limits.min_accuracy is not None:
            found += _floors(row, own, limits.min_accuracy)
        if limits.max_accuracy_drop is not None:
            references = _scores_of(baseline, owned) if baseline is not None else []
            against = baseline.model if baseline is not None else None
            found += _drops(row, own, against, references, limits.max_accuracy_drop)
    return found


def _rows_of(entry: Eval, measured: Sequence[tuple[str, Measurement]]) -> list[Measurement]:
    """Return the measurements of the model that was scored.

    Weights tell it where both sides know theirs; the names of one model may differ.
    """
    result, rows = entry.result, [row for _, row in measured]
    named = [row for row in rows if _names(result, row)]
    alike = [row for row in rows if result.fingerprint and row.fingerprint == result.fingerprint]
    if alike:
        both = [row for row in named if row.fingerprint == result.fingerprint]
        return both or _of_one_precision(entry, alike)
    if not named:
        raise UsageError(
            f"{str(entry.path)!r} is of {result.model!r}, which was not measured; measured:"
            f" {', '.join(dict.fromkeys(row.model for row in rows))}"
        )
    unknown = [row for row in named if not (row.fingerprint and result.fingerprint)]
    if not unknown:
        file, row = next((file, row) for file, row in measured if row is named[0])
        raise ResultError(
            f"{str(entry.path)!r} is not of the weights that {file!r} measured as {row.model!r}:"
            f" fingerprint {result.fingerprint} and {row.fingerprint}"
        )
    return unknown


def _names(result: EvalResult, row: Measurement) -> bool:
    if result.model in (row.model, row.artifact, row.file):
        return True
    if result.scored is None or not Path(result.scored).exists():
        return False
    places = [Path(place) for place in (row.artifact, row.file) if place is not None]
    return any(place.exists() and place.samefile(result.scored) for place in places)


def _of_one_precision(entry: Eval, rows: Sequence[Measurement]) -> list[Measurement]:
    """Refuse to guess which of several files of the same weights was scored."""
    if len({row.precision for row in rows}) > 1:
        names = dict.fromkeys(f"{row.model} ({row.precision})" for row in rows)
        raise UsageError(
            f"{str(entry.path)!r} may be of any of {', '.join(names)}, which have the same weights",
            hint="score the very file that was measured: edgeprune eval FILE --json",
        )
    return list(rows)


def _scores_of(
    row: Measurement, owned: Sequence[tuple[Eval, Sequence[Measurement]]]
) -> list[Score]:
    """Return what all eval results say of a measured model, else what its artifact does."""
    found = [
        Score(entry.path, entry.result.dg)
        for entry, rows in owned
        if any(other is row for other in rows)
    ]
    if found or row.artifact is None:
        return found
    path = Path(row.artifact) / RECORD_FILE
    dg = read_finite(path, ArtifactRecord, ArtifactError).dg if path.is_file() else None
    if dg is None:
        return []
    check_accuracies(path, dg, ArtifactError)
    return [Score(path, dg)]


def _floors(row: Measurement, scores: Sequence[Score], limit: float) -> list[Finding]:
    if not scores:
        return [_unknown(row, "accuracy", limit, "its accuracy is not known; give --eval FILE")]
    return [
        finding(
            row,
            metric="accuracy",
            current=score.dg.target_accuracy,
            note=_by(score) if len(scores) > 1 else None,
            **_judged(score.dg, limit),
        )
        for score in scores
    ]


def _drops(
    row: Measurement,
    scores: Sequence[Score],
    against: str | None,
    references: Sequence[Score],
    drop: float,
) -> list[Finding]:
    if not scores or not references:
        who = "the accuracy of its baseline" if scores else "its accuracy"
        return [_unknown(row, "accuracy_drop", None, f"{who} is not known; give --eval FILE")]
    found = []
    for score in scores:
        comparable = [other for other in references if same_score(score.dg, other.dg)]
        if not comparable:
            note = (
                "the two were scored on different data sets, targets or splits,"
                " or their step was selected otherwise"
            )
            limit = references[0].dg.target_accuracy - drop if len(references) == 1 else None
            found.append(_unknown(row, "accuracy_drop", limit, note))
        several = len(scores) > 1 or len(comparable) > 1
        found += [
            finding(
                row,
                metric="accuracy_drop",
                against=against,
                baseline=other.dg.target_accuracy,
                current=score.dg.target_accuracy,
                note=f"{_by(score)}, the baseline's {_by(other)}" if several else None,
                **_judged(score.dg, other.dg.target_accuracy - drop),
            )
            for other in comparable
        ]
    return found


def _judged(dg: DGResult, limit: float) -> dict[str, Any]:
    return {
        "unit": "%",
        "ci95": dg.target_interval,
        "limit": limit,
        "verdict": "passed" if dg.target_accuracy >= limit else "failed",
    }


def _by(score: Score) -> str:
    """Tell scores of one model apart."""
    return f"on {score.dg.target} by {str(score.path)!r}"


def _unknown(row: Measurement, metric: str, limit: float | None, note: str) -> Finding:
    return finding(row, metric=metric, unit="%", limit=limit, verdict="inconclusive", note=note)
