"""Putting measurements beside the artifacts that they measured: the rows of a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune.reporting.collect import Artifact, Bench
from edgeprune.reporting.document import ReportModel, ReportRow
from edgeprune.reporting.wording import short_name
from edgeprune.schema import Comparison, Measurement

# Accuracy is scored on the PyTorch model; it holds for exports whose parity was checked at fp32.
SCORED_PRECISIONS = ("fp32", "float32")


def build_rows(
    artifacts: Sequence[Artifact], models: Sequence[ReportModel], benches: Sequence[Bench]
) -> tuple[list[ReportRow], list[str]]:
    """Return one row per measurement, then one per artifact that nothing measured; and warnings."""
    by_label = {model.label: model for model in models}
    rows: list[ReportRow] = []
    warnings: list[str] = []
    for bench in benches:
        found = [match(m, bench.path, artifacts) for m in bench.result.measurements]
        warnings += [warning for _, warning in found if warning]
        names = [
            artifact.label if artifact else measurement.model
            for measurement, (artifact, _) in zip(bench.result.measurements, found, strict=True)
        ]
        for index, (artifact, _) in enumerate(found):
            model = by_label[artifact.label] if artifact else None
            speed, warning = _speed(bench, index, names)
            if warning:
                warnings.append(warning)
            rows.append(_row(names[index], model, bench, bench.result.measurements[index], speed))
    measured = {row.artifact for row in rows}
    for model in models:
        if model.artifact not in measured:
            facts: dict[str, Any] = {**_model_facts(model), **_score_facts(model)}
            rows.append(ReportRow(label=model.label, **facts))
    order = {model.label: index for index, model in enumerate(models)}
    rows.sort(key=lambda row: order.get(row.label, len(order)))
    return rows, warnings


def match(
    measurement: Measurement, bench: Path, artifacts: Sequence[Artifact]
) -> tuple[Artifact | None, str | None]:
    """Find the artifact that was measured, and a warning where a likely one had to be refused.

    The fingerprint decides where the measurement has one. Else the artifact's path, then the
    measurement's label, then the folder of the measured file; each only if it names exactly one
    artifact, and only if the counted MACs agree.
    """
    likely = _by_name(measurement, bench, artifacts)
    if measurement.fingerprint:
        same = [a for a in artifacts if a.record.weights_sha256 == measurement.fingerprint]
        if same:
            return (likely if likely in same else same[0]), None
        if likely is None:
            return None, None
        return None, (
            f"{measurement.model}: {bench.name} measured other weights than artifact"
            f" {likely.label} holds now; speed and accuracy are kept apart"
        )
    if likely is not None and measurement.macs not in (None, likely.record.pruned.macs):
        return None, (
            f"{measurement.model}: {bench.name} measured {measurement.macs} MACs, artifact"
            f" {likely.label} has {likely.record.pruned.macs}; speed and accuracy are kept apart"
        )
    return likely, None


def _by_name(m: Measurement, bench: Path, artifacts: Sequence[Artifact]) -> Artifact | None:
    if m.artifact:
        return _at(Path(m.artifact), bench, artifacts)
    for name in (m.model, Path(m.file).parent.name if m.file else None):
        named = [a for a in artifacts if name in (a.label, str(a.path), a.path.resolve().name)]
        if len(named) == 1:
            return named[0]
    return _at(Path(m.file).parent, bench, artifacts) if m.file else None


def _at(path: Path, bench: Path, artifacts: Sequence[Artifact]) -> Artifact | None:
    places = {path.resolve(), (bench.parent / path).resolve()}
    return next((a for a in artifacts if a.path.resolve() in places), None)


def _speed(bench: Bench, index: int, names: Sequence[str]) -> tuple[dict[str, Any], str | None]:
    """Return the speed-up of a measurement as row fields, from the comparison that names it."""
    measurements = bench.result.measurements
    own = measurements[index]
    of_batch = [c for c in bench.result.comparisons if c.batch == own.batch]
    compared = [c for c in of_batch if c.model == own.model]
    alike = [m for m in measurements if (m.model, m.batch) == (own.model, own.batch)]
    if compared and (len(compared) > 1 or len(alike) > 1):
        return {}, (
            f"{own.model}: {bench.path.name} compares it more than once at batch {own.batch};"
            " its speed-up is left out"
        )
    if compared:
        return _compared(compared[0], own, measurements, names), None
    if any(c.baseline == own.model for c in of_batch):
        name = names[index]
        return {"baseline": name, "is_baseline": True, "speedup": 1.0}, None
    return {}, None


def _compared(
    comparison: Comparison,
    own: Measurement,
    measurements: Sequence[Measurement],
    names: Sequence[str],
) -> dict[str, Any]:
    baselines = [
        (m, name)
        for m, name in zip(measurements, names, strict=True)
        if (m.model, m.batch) == (comparison.baseline, comparison.batch)
    ]
    return {
        "baseline": baselines[0][1] if baselines else comparison.baseline,
        "is_baseline": False,
        "speedup": comparison.speedup,
        "speedup_ci95": comparison.ci95,
        "speedup_estimated": own.estimated or any(m.estimated for m, _ in baselines),
        "macs_ratio": comparison.macs_ratio,
    }


def _row(
    label: str, model: ReportModel | None, bench: Bench, m: Measurement, speed: dict[str, Any]
) -> ReportRow:
    facts: dict[str, Any] = {"short": label, "params": m.params, "macs": m.macs, **speed}
    if model is not None:
        facts |= _model_facts(model)
        if m.precision in SCORED_PRECISIONS:
            facts |= _score_facts(model)
        elif model.dg is not None:
            facts["accuracy_note"] = f"not scored at {m.precision}"
    return ReportRow(
        label=label,
        bench=str(bench.path),
        file=m.file,
        runtime=m.runtime,
        device=m.device,
        precision=m.precision,
        batch=m.batch,
        threads=m.threads,
        latency_p50_ms=m.latency_ms.p50,
        latency_p90_ms=m.latency_ms.p90,
        latency_p95_ms=m.latency_ms.p95,
        latency_p99_ms=m.latency_ms.p99,
        latency_ci95_ms=m.latency_ms.ci95,
        throughput_ips=m.throughput_ips,
        peak_rss_mb=m.memory_mb.peak_rss,
        device_peak_mb=m.memory_mb.device_peak,
        energy_mj=m.energy_mj,
        samples=m.samples,
        estimated=m.estimated,
        **facts,
    )


def _model_facts(model: ReportModel) -> dict[str, Any]:
    return {
        "short": short_name(model),
        "artifact": model.artifact,
        "fingerprint": model.fingerprint or None,
        "seed": _seed(model),
        "model": model.model,
        "family": model.family,
        "is_dense": model.is_dense,
        "metric": model.metric,
        "ratio": model.ratio,
        "budget": model.budget,
        "params": model.params,
        "macs": model.macs,
        "macs_ratio": model.macs_ratio,
    }


def _seed(model: ReportModel) -> int | None:
    return next((step.seed for step in reversed(model.made) if step.command == "finetune"), None)


def _score_facts(model: ReportModel) -> dict[str, Any]:
    if model.dg is None:
        return {}
    dg = model.dg
    return {
        "dataset": dg.dataset,
        "target": dg.target,
        "split": dg.split.by,
        "split_seed": dg.split.seed,
        "holdout": dg.split.holdout,
        "selection": dg.selection,
        "target_accuracy": dg.target_accuracy,
        "target_ci95": dg.target_interval,
        "target_n": dg.target_n,
        "drop_points": model.drop_points,
        "drop_ci95": model.drop_ci95,
        "flipped": model.flipped,
        "source_val_accuracy": dg.source_val_accuracy,
        "balanced_accuracy": dg.balanced_accuracy,
        "calibration_error": dg.calibration_error,
        "worst_domain": dg.worst_domain.name if dg.worst_domain else None,
        "worst_domain_accuracy": dg.worst_domain.accuracy if dg.worst_domain else None,
    }
