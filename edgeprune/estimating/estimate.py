"""``bench --estimate``: what a device that is not here would take, by a roofline of its profile."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.benchmarking.candidates import Candidate, Source, find, load
from edgeprune.devices import DeviceProfile, load_profile, profile_names
from edgeprune.environment import version_of
from edgeprune.errors import UsageError
from edgeprune.estimating.calibration import Calibration, calibration_for
from edgeprune.estimating.layers import Kernel, trace
from edgeprune.estimating.roofline import ELEMENT_BYTES, KernelTimes, columns, kernel_times, rates
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import (
    BenchResult,
    Comparison,
    EstimatedLayer,
    Latency,
    Measurement,
    Memory,
)

if TYPE_CHECKING:
    from edgeprune.model import DenseOptions, Model

BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class _Setting:
    """What all estimates of one run share."""

    profile: DeviceProfile
    calibration: Calibration
    precision: str


def estimate(
    candidates: Sequence[Candidate | str | Path],
    *,
    device: str,
    baseline: Candidate | str | Path | None = None,
    runtime: str | None = None,
    precision: str | None = None,
    batches: Sequence[int] = (1,),
    dense: DenseOptions | None = None,
    progress: Progress = SILENT,
) -> BenchResult:
    """Estimate the latency of models on a device that need not be here.

    Args:
        candidates: timm names or artifact directories.
        device: a device profile, by name or by the path of its file.
        baseline: what they are compared with.
        runtime: the runtime that is meant; None means the calibrated one.
        precision: None means the first that is calibrated: fp16 on a Jetson, fp32 on a CPU.
        batches: batch sizes.
        dense: how timm models are made; None means with random weights.
        progress: where to show how far it is.

    Returns:
        Measurements that are marked ``estimated``; their ``ci95`` is the interval that held 95 %
        of the latencies of devices that the calibration had not seen.

    Raises:
        UsageError: if the device, runtime, precision or size of a call is not calibrated, or a
            candidate is an ONNX file.
        ModelError, ArtifactError: if a model is unknown or damaged.
    """
    setting = _setting(device, runtime, precision)
    if not batches or min(batches) < 1:
        raise UsageError(f"batch {min(batches, default=None)} is not accepted; 1 and more are")
    wanted = [_candidate(entry, dense) for entry in candidates]
    if baseline is not None:
        first = _candidate(baseline, dense)
        wanted = [first, *(candidate for candidate in wanted if candidate != first)]
    for candidate in wanted:
        if candidate.reference.lower().endswith(".onnx"):
            raise UsageError(
                f"an estimate reads the layers of a network, not of an ONNX file:"
                f" {candidate.reference!r}",
                hint="name the artifact or the timm model that it was exported from",
            )
    measurements: list[Measurement] = []
    warnings: list[str] = []
    for source in find(wanted, "model", setting.calibration.runtime):
        progress.say(f"estimating {source.label}")
        model = load(source)
        for batch in dict.fromkeys(batches):
            row, warning = _estimate(source, model, batch, setting)
            measurements.append(row)
            warnings += [warning] if warning else []
    return BenchResult(
        environment=_environment(setting),
        measurements=measurements,
        comparisons=_comparisons(measurements, setting) if baseline is not None else [],
        warnings=warnings,
    )


def _setting(device: str, runtime: str | None, precision: str | None) -> _Setting:
    if device in ("cpu", "cuda"):
        raise UsageError(
            f"an estimate needs a device profile, not {device!r}; accepted:"
            f" {', '.join(profile_names())}, or the path of a profile",
        )
    profile = load_profile(device)
    calibration = calibration_for(profile)
    if runtime not in (None, calibration.runtime):
        raise UsageError(
            f"estimates for {profile.name!r} are of {calibration.runtime}, not of {runtime!r}"
        )
    return _Setting(profile, calibration, calibration.check_precision(precision))


def _candidate(entry: Candidate | str | Path, dense: DenseOptions | None) -> Candidate:
    if isinstance(entry, Candidate):
        return entry if entry.dense is not None else dataclasses.replace(entry, dense=dense)
    return Candidate(str(entry), dense)


def _estimate(
    source: Source, model: Model, batch: int, setting: _Setting
) -> tuple[Measurement, str | None]:
    """Estimate one model at one batch size; also a warning if it is near the edge of the range."""
    kernels = trace(model.module, model.record.img_size, batch)
    calibration = setting.calibration
    label = f"{source.label}, batch {batch}"
    warning = calibration.check_size(label, sum(kernel.macs for kernel in kernels))
    times = kernel_times(
        columns(kernels), rates(setting.profile, setting.precision), calibration.coefficients
    )
    total_ms = 1e3 * float(times.total.sum())
    factor = calibration.errors.factor95
    cost = model.record.pruned
    size = cost.params * ELEMENT_BYTES[setting.precision]
    return Measurement(
        model=source.label,
        artifact=source.artifact,
        file=None,
        runtime=calibration.runtime,
        device=setting.profile.name,
        precision=setting.precision,
        batch=batch,
        threads=calibration.threads,
        latency_ms=Latency(
            min=None,
            p50=total_ms,
            p90=None,
            p95=None,
            p99=None,
            mean=None,
            std=None,
            ci95=(total_ms / factor, total_ms * factor),
        ),
        throughput_ips=batch * 1000 / total_ms,
        memory_mb=Memory(weights=size / BYTES_PER_MB, peak_rss=None, device_peak=None),
        energy_mj=None,
        samples=0,
        estimated=True,
        macs=cost.macs,
        params=cost.params,
        fingerprint=model.record.weights_sha256 or None,
        layers=_layers(kernels, times),
    ), warning


def _layers(kernels: Sequence[Kernel], times: KernelTimes) -> list[EstimatedLayer]:
    """Add up what belongs to one layer and kind, in the order of the network."""
    found: dict[tuple[str, str], list[int]] = {}
    for index, kernel in enumerate(kernels):
        found.setdefault((kernel.layer, kernel.kind), []).append(index)
    layers = []
    for (layer, kind), indices in found.items():
        parts = {
            "compute": float(times.compute[indices].sum()),
            "memory": float(times.memory[indices].sum()),
            "launch": float(times.launch[indices].sum()),
        }
        layers.append(
            EstimatedLayer(
                name=layer,
                kind=kind,
                macs=sum(kernels[index].macs for index in indices),
                latency_ms=1e3 * float(times.total[indices].sum()),
                bound=max(parts, key=lambda part: parts[part]),
            )
        )
    return layers


def _comparisons(rows: Sequence[Measurement], setting: _Setting) -> list[Comparison]:
    """Compare each model with the first one at the same batch size."""
    name, factor = rows[0].model, setting.calibration.errors.ratio_factor95
    bases = {row.batch: row for row in rows if row.model == name}
    found = []
    for row in rows:
        base = bases[row.batch]
        if row is base:
            continue
        speedup = base.latency_ms.p50 / row.latency_ms.p50
        found.append(
            Comparison(
                model=row.model,
                baseline=name,
                batch=row.batch,
                speedup=speedup,
                ci95=(speedup / factor, speedup * factor),
                macs_ratio=base.macs / row.macs if base.macs and row.macs else None,
            )
        )
    return found


def _environment(setting: _Setting) -> dict[str, object]:
    calibration = setting.calibration
    return {
        "estimated": True,
        "device": setting.profile.name,
        "device_title": setting.profile.title,
        "calibration": {
            "name": calibration.name,
            "source": calibration.source,
            **calibration.errors.model_dump(),
        },
        "latency_budget_ms": setting.profile.latency_budget_ms,
        "versions": {"edgeprune": version_of("edgeprune")},
        "command": shlex.join(sys.argv),
    }
