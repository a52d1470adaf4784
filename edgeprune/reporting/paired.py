"""The drop against dense from the predictions that two artifacts keep."""

from __future__ import annotations

from edgeprune.drop import compare
from edgeprune.errors import ResultError
from edgeprune.predictions import PREDICTIONS_FILE, Predictions, read_predictions
from edgeprune.reporting.collect import Artifact
from edgeprune.schema import Drop


def paired_drop(artifact: Artifact, dense: Artifact) -> tuple[Drop | None, str | None]:
    """Return the paired drop, or why there is none; neither where predictions are not kept."""
    try:
        own, other = _kept(artifact), _kept(dense)
        if own is None or other is None:
            return None, None
        return compare(own, other, against=dense.label), None
    except ResultError as problem:
        return None, str(problem)


def _kept(artifact: Artifact) -> Predictions | None:
    """Read the predictions of an artifact, which must be those of its recorded result.

    Raises:
        ResultError: if they are damaged, or of other weights or images.
    """
    path = artifact.path / PREDICTIONS_FILE
    if not path.is_file():
        return None
    found = read_predictions(path)
    record = artifact.record
    if found.facts.weights_sha256 != record.weights_sha256:
        raise ResultError(f"{str(path)!r} holds the answers of other weights than the artifact's")
    dg, facts = record.dg, found.facts
    if dg is None or (dg.dataset, dg.target, dg.split) != (
        facts.dataset,
        facts.target,
        facts.split,
    ):
        raise ResultError(f"{str(path)!r} does not belong to the result that the artifact records")
    return found
