"""From recordings to the result document: a pure function, no processes and no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeprune.benchmarking import conditions, context, stats
from edgeprune.benchmarking.candidates import Source
from edgeprune.benchmarking.layers import LayerProfile
from edgeprune.benchmarking.raw import pack
from edgeprune.benchmarking.rounds import NS_PER_MS, Recording
from edgeprune.benchmarking.run_queue import STARVED_SHARE, starved
from edgeprune.benchmarking.runtimes.base import Job, Loaded
from edgeprune.benchmarking.stopping import half_width
from edgeprune.benchmarking.workers import Peaks, Transfers
from edgeprune.schema import (
    BenchResult,
    Comparison,
    Latency,
    MeasuredLayer,
    Measurement,
    Memory,
    PerLayer,
    PreprocessingTimes,
    Sustained,
    TransferTimes,
)

BYTES_PER_MB = 1e6
# hyperfine warns of any outlier; with thousands of calls some are always there.
OUTLIER_LIMIT = 0.01


@dataclass(frozen=True)
class Measured:
    """All that is known of one model at one batch size; ``device`` as it was asked for.

    ``energy_mj`` is per image; under sustained load every round is a window of ``window_s``.
    """

    source: Source
    job: Job
    loaded: Loaded
    recording: Recording
    peaks: Peaks
    device: str
    energy_mj: float | None = None
    window_s: float | None = None
    transfers: Transfers | None = None
    preprocessing: PreprocessingTimes | None = None
    layers: LayerProfile | None = None

    @property
    def throughput_ips(self) -> float:
        """Images per second of the timed calls."""
        return self.job.batch * 1000 / float(self.recording.samples.mean())


def summarise(
    measured: Sequence[Measured],
    *,
    baseline: str | None,
    environment: dict[str, Any],
    seed: int,
    notes: Sequence[str] = (),
    **facts: Any,
) -> BenchResult:
    """Return the result document; ``baseline`` is the label that others are compared with.

    ``notes`` are further warnings, ``facts`` further fields of the document.
    """
    machine = context.warnings(environment) + conditions.warnings(environment.get("during"))
    warnings = [*machine, *notes]
    for entry in measured:
        warnings += _warnings(entry)
    return BenchResult(
        environment={**environment, "warnings": machine},
        measurements=[_measurement(entry, seed) for entry in measured],
        comparisons=_comparisons(measured, baseline, seed),
        warnings=warnings,
        **facts,
    )


def latency(recording: Recording, seed: int) -> Latency:
    """Return the statistics of one recording, in ms."""
    samples = recording.samples
    return Latency(
        min=float(samples.min()),
        p50=float(np.median(samples)),
        p90=stats.percentile(samples, 90),
        p95=stats.percentile(samples, 95),
        p99=stats.percentile(samples, 99),
        mean=float(samples.mean()),
        std=float(samples.std(ddof=1)),
        ci95=stats.median_interval(recording.rounds, seed=seed),
    )


def _measurement(entry: Measured, seed: int) -> Measurement:
    source, job, loaded = entry.source, entry.job, entry.loaded
    weights = source.weights_bytes if source.weights_bytes is not None else loaded.weights_bytes
    times = latency(entry.recording, seed)
    return Measurement(
        model=source.label,
        artifact=source.artifact,
        file=source.file,
        runtime=job.runtime,
        device=entry.device,
        precision=loaded.precision,
        batch=job.batch,
        threads=job.threads,
        latency_ms=times,
        throughput_ips=entry.throughput_ips,
        memory_mb=Memory(
            weights=_mb(weights),
            peak_rss=_mb(entry.peaks.rss_bytes),
            device_peak=_mb(entry.peaks.device_bytes),
        ),
        energy_mj=entry.energy_mj,
        samples=len(entry.recording.samples),
        estimated=False,
        macs=loaded.macs,
        params=loaded.params,
        warmup=entry.recording.warmup.calls,
        stop=entry.recording.warmup.stop,
        rounds=len(entry.recording.rounds),
        dropped=entry.recording.dropped if job.period_s is not None else None,
        sustained=_sustained(entry),
        transfer_ms=_transfer(entry.transfers),
        preprocessing_ms=entry.preprocessing,
        stopped_by=entry.recording.stopped_by,
        waiting_share=entry.recording.waiting_share,
        fingerprint=loaded.fingerprint,
        raw=pack(entry.recording.rounds),
        per_layer=_per_layer(entry.layers, times.p50, entry.energy_mj),
    )


def _per_layer(
    found: LayerProfile | None, p50_ms: float, energy_mj: float | None
) -> PerLayer | None:
    """Share a call, and its energy, out by the time that the layers took while it was profiled."""
    total = sum(layer.ms for layer in found.layers) if found else 0.0
    if found is None or not total:
        return None
    shares = [layer.ms / total for layer in found.layers]
    layers = [
        MeasuredLayer(
            name=layer.name,
            latency_ms=share * p50_ms,
            share=share,
            operators=layer.operators,
            parameter_bytes=layer.parameter_bytes,
            activation_bytes=layer.activation_bytes,
            energy_by_time_mj=share * energy_mj if energy_mj is not None else None,
        )
        for layer, share in zip(found.layers, shares, strict=True)
    ]
    return PerLayer(
        calls=found.profile.calls,
        profiled_call_ms=found.profile.call_ms,
        operators_ms=total,
        noting_ms=found.profile.noting_ms,
        layers=layers,
    )


def _transfer(found: Transfers | None) -> TransferTimes | None:
    if found is None:
        return None
    return TransferTimes(
        to_device=float(np.median(found.to_device_ns)) / NS_PER_MS,
        to_host=float(np.median(found.to_host_ns)) / NS_PER_MS,
    )


def _sustained(entry: Measured) -> Sustained | None:
    if entry.window_s is None:
        return None
    rates = [entry.job.batch * 1000 / float(ms.mean()) for ms in entry.recording.rounds]
    some = max(1, len(rates) // 10)
    return Sustained(
        window_s=entry.window_s,
        rates_ips=rates,
        last_over_first=float(np.mean(rates[-some:]) / np.mean(rates[:some])),
    )


def _comparisons(measured: Sequence[Measured], baseline: str | None, seed: int) -> list[Comparison]:
    """Compare each model with the baseline of the same batch size, which shared its rounds."""
    bases = {entry.job.batch: entry for entry in measured if entry.source.label == baseline}
    found = []
    for entry in measured:
        base = bases.get(entry.job.batch)
        if base is None or entry is base:
            continue
        ratio, interval = stats.round_by_round_ratio(
            base.recording.rounds, entry.recording.rounds, seed=seed
        )
        found.append(
            Comparison(
                model=entry.source.label,
                baseline=base.source.label,
                batch=entry.job.batch,
                speedup=ratio,
                ci95=interval,
                macs_ratio=_ratio(base.loaded.macs, entry.loaded.macs),
            )
        )
    return found


def _warnings(entry: Measured) -> list[str]:
    where = f"{entry.source.label}, batch {entry.job.batch}"
    recording = entry.recording
    found = []
    if recording.warmup.stop == "cap":
        found.append(f"{where}: the rate had not settled when the time for warm-up ran out")
    if recording.stopped_by == "max_time":
        width = half_width(recording.rounds, entry.job.seed)
        found.append(
            f"{where}: after --max-time the median is known to {width:.1%}, which for it or for a"
            " model beside it misses --precision-target"
        )
    if starved(recording.waiting_share):
        found.append(
            f"{where}: it was starved: for {recording.waiting_share:.0%} of the time (more than"
            f" {STARVED_SHARE:.0%}) it waited for a core that another program had"
        )
    if recording.restless:
        found.append(f"{where}: its threads kept running after {recording.restless} rounds")
    found += [f"{where}: {note}" for note in recording.notes]
    share = stats.outlier_share(recording.samples)
    if share > OUTLIER_LIMIT:
        found.append(f"{where}: {share:.1%} of the calls are outliers; is the machine quiet?")
    least = stats.MIN_SAMPLES[90]
    if len(recording.samples) < least:
        found.append(
            f"{where}: {len(recording.samples)} calls, too few for p90 and above"
            f" ({least} are needed); use a longer --min-time"
        )
    return found


def _ratio(base: int | None, model: int | None) -> float | None:
    return base / model if base and model else None


def _mb(size: int | None) -> float | None:
    return size / BYTES_PER_MB if size is not None else None
