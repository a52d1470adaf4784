"""From artifact records to the models of a report: accuracy against dense, widths, ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.reporting.collect import Artifact
from edgeprune.reporting.document import LayerWidth, ReportModel
from edgeprune.reporting.paired import paired_drop
from edgeprune.schema import ArtifactRecord, DGResult, Drop, Made
from edgeprune.selection import comparable


@dataclass(frozen=True)
class _Dense:
    """Dense artifacts that tell the widths and the accuracy before, or why the latter is open."""

    shape: Artifact | None = None
    scored: Artifact | None = None
    why: str | None = None


def build_models(artifacts: Sequence[Artifact]) -> tuple[list[ReportModel], list[str]]:
    """Return a model for each artifact, and warnings about what could not be compared."""
    models = []
    warnings = []
    for artifact in artifacts:
        dense = _dense_of(artifact, artifacts)
        drop, unpaired = paired_drop(artifact, dense.scored) if dense.scored else (None, None)
        if unpaired:
            warnings.append(f"{artifact.label}: {unpaired}; the drop has no interval")
        models.append(_model(artifact, dense, drop))
        if dense.why:
            warnings.append(f"{artifact.label}: {dense.why}; the drop is not known")
    first = {model.model: index for index, model in reversed(list(enumerate(models)))}
    # A dense model, then what was made of it, the least pruned first.
    models.sort(key=lambda m: (first[m.model], not m.is_dense, m.macs_ratio, m.label))
    return models, warnings


def is_dense(record: ArtifactRecord) -> bool:
    """Tell whether nothing was removed from the model."""
    return record.pruned == record.dense


def same_score(first: DGResult, second: DGResult) -> bool:
    """Tell whether two results were scored on the same images, their weights selected alike."""
    if not comparable(first.selection, second.selection):
        return False
    same = (first.dataset, first.target, first.split) == (
        second.dataset,
        second.target,
        second.split,
    )
    return same and first.target_n == second.target_n


def _data_fingerprint(record: ArtifactRecord) -> str | None:
    fingerprints = [made.data.fingerprint for made in record.made if made.data is not None]
    return fingerprints[-1] if fingerprints else None


def _dense_of(artifact: Artifact, artifacts: Sequence[Artifact]) -> _Dense:
    """Find the dense artifact that a pruned one is held against; never guess between two."""
    record = artifact.record
    if is_dense(record):
        return _Dense()
    candidates = [other for other in artifacts if _is_dense_of(other.record, record)]
    # Any dense one of the same shape tells the widths; for the drop it must be the right one.
    shape = candidates[0] if candidates else None
    if record.dg is None or not candidates:
        return _Dense(shape)
    dg = record.dg
    scored = [other for other in candidates if other.record.dg and same_score(other.record.dg, dg)]
    if not scored:
        return _Dense(shape, why=_why_not(dg, candidates))
    ancestors = _ancestors(artifact, artifacts)
    related = [other for other in scored if other.label in ancestors]
    if len(scored) > 1 and len(related) != 1:
        names = ", ".join(other.label for other in scored)
        return _Dense(shape, why=f"{len(scored)} dense artifacts could be its baseline ({names})")
    chosen = scored[0] if len(scored) == 1 else related[0]
    if len({_data_fingerprint(chosen.record), _data_fingerprint(record)} - {None}) > 1:
        return _Dense(
            shape, why=f"its dense artifact {chosen.label} used other data (fingerprints differ)"
        )
    return _Dense(shape, scored=chosen)


def _why_not(dg: DGResult, candidates: Sequence[Artifact]) -> str:
    """Say why none of the dense artifacts will do."""
    for other in candidates:
        dense = other.record.dg
        if dense and same_score(dense.model_copy(update={"selection": dg.selection}), dg):
            return (
                f"its step was selected by {dg.selection or 'nothing'}, that of its dense artifact"
                f" {other.label} by {dense.selection or 'nothing'}"
            )
    return f"no dense artifact was scored on the same images of {dg.target!r}"


def _is_dense_of(dense: ArtifactRecord, record: ArtifactRecord) -> bool:
    return is_dense(dense) and (dense.model, dense.img_size, dense.num_classes, dense.dense) == (
        record.model,
        record.img_size,
        record.num_classes,
        record.dense,
    )


def _ancestors(artifact: Artifact, artifacts: Sequence[Artifact]) -> set[str]:
    """Follow ``parent`` (a fingerprint or a path) and return the labels on the way."""
    found: set[str] = set()
    current: Artifact | None = artifact
    while current is not None and current.record.parent and current.label not in found:
        found.add(current.label)
        parent = current.record.parent
        current = next(
            (o for o in artifacts if parent in (o.record.weights_sha256, str(o.path), o.label)),
            None,
        )
    if current is not None:
        found.add(current.label)
    return found


def _model(artifact: Artifact, dense: _Dense, drop: Drop | None) -> ReportModel:
    record = artifact.record
    prunings = [made for made in record.made if made.command == "prune"]
    return ReportModel(
        label=artifact.label,
        artifact=str(artifact.path),
        fingerprint=record.weights_sha256,
        model=record.model,
        family=record.family,
        img_size=record.img_size,
        is_dense=is_dense(record),
        metric=" + ".join(_text(made, "metric") or "?" for made in prunings) or None,
        ratio=_ratio(prunings),
        budget=_text(prunings[0], "budget") if len(prunings) == 1 else None,
        params=record.pruned.params,
        macs=record.pruned.macs,
        dense_params=record.dense.params,
        dense_macs=record.dense.macs,
        macs_ratio=record.dense.macs / record.pruned.macs,
        dg=record.dg,
        dense_reference=dense.scored.label if dense.scored else None,
        drop_points=_drop(record.dg, dense.scored.record.dg if dense.scored else None),
        drop_ci95=drop.ci95 if drop else None,
        flipped=drop.flipped if drop else None,
        layers=_layers(record, dense.shape.record if dense.shape else None),
        made=record.made,
    )


def _drop(dg: DGResult | None, dense: DGResult | None) -> float | None:
    if dg is None or dense is None:
        return None
    return dg.target_accuracy - dense.target_accuracy


def _layers(record: ArtifactRecord, dense: ArtifactRecord | None) -> list[LayerWidth]:
    source = record if is_dense(record) else dense
    before = {(w.name, w.dim): w.width for w in source.widths} if source else {}
    return [
        LayerWidth(name=w.name, dim=w.dim, before=before.get((w.name, w.dim)), after=w.width)
        for w in record.widths
    ]


def _ratio(prunings: Sequence[Made]) -> float | None:
    """Return the ratio of the only pruning; two in a row have no common ratio."""
    if len(prunings) != 1:
        return None
    ratio = prunings[0].options.get("ratio")
    return float(ratio) if isinstance(ratio, int | float) and not isinstance(ratio, bool) else None


def _text(made: Made, key: str) -> str | None:
    value = made.options.get(key)
    return value if isinstance(value, str) else None
