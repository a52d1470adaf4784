"""What each layer takes of a call: measured where a bench profiled it, else as it was estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.layer_names import OTHER, by_kind, layer_names
from edgeprune.reporting.collect import Artifact, Bench
from edgeprune.reporting.document import LayerTime, ModelLayers
from edgeprune.reporting.rows import match
from edgeprune.reporting.wording import machine_name, setting
from edgeprune.schema import EstimatedLayer, Measurement, PerLayer


@dataclass(frozen=True)
class Segment:
    """One kind of layer in the bar of a model, in percent of the longest bar."""

    color: int
    start: float
    width: float


@dataclass(frozen=True)
class KindLine:
    """What one model spends in each kind of layer, in ms; None where it has no such layer."""

    model: ModelLayers
    times: list[float | None]
    segments: list[Segment]


@dataclass(frozen=True)
class KindTable:
    """Models that were measured, or estimated, in one setting, side by side."""

    setting: str
    estimated: bool
    kinds: list[str]
    lines: list[KindLine]

    @property
    def title(self) -> str:
        """Say how the times were got."""
        how = "Estimated" if self.estimated else "Measured"
        return f"{how}: {self.setting}"


def build_layers(artifacts: Sequence[Artifact], benches: Sequence[Bench]) -> list[ModelLayers]:
    """Return the layers of every measurement, and estimate, that tells them."""
    found = []
    names = [machine_name(bench.result.environment) for bench in benches]
    if len({*names} - {""}) < 2:
        names = ["" for _ in benches]
    for bench, machine in zip(benches, names, strict=True):
        for measurement in bench.result.measurements:
            layers = _layers(measurement)
            if layers:
                artifact, _ = match(measurement, bench.path, artifacts)
                found.append(
                    ModelLayers(
                        label=artifact.label if artifact else measurement.model,
                        setting=setting(measurement, machine).removeprefix("estimated: "),
                        estimated=measurement.estimated,
                        latency_p50_ms=measurement.latency_ms.p50,
                        layers=layers,
                    )
                )
    return found


def kind_tables(models: Sequence[ModelLayers]) -> list[KindTable]:
    """Put the models of each setting side by side, layers of one kind added up."""
    groups: dict[tuple[str, bool], list[ModelLayers]] = {}
    for model in models:
        groups.setdefault((model.setting, model.estimated), []).append(model)
    return [_kind_table(members) for members in groups.values()]


def _kind_table(models: Sequence[ModelLayers]) -> KindTable:
    times = [by_kind((layer.name, layer.latency_ms) for layer in model.layers) for model in models]
    kinds = list(dict.fromkeys(kind for found in times for kind in found))
    kinds.sort(key=lambda kind: kind == OTHER)
    longest = max(sum(found.values()) for found in times)
    lines = [
        KindLine(model, [found.get(kind) for kind in kinds], _segments(kinds, found, longest))
        for model, found in zip(models, times, strict=True)
    ]
    return KindTable(models[0].setting, models[0].estimated, kinds, lines)


def _segments(kinds: Sequence[str], times: dict[str, float], longest: float) -> list[Segment]:
    segments = []
    start = 0.0
    for index, kind in enumerate(kinds):
        width = 100 * times.get(kind, 0.0) / longest
        segments.append(Segment(index, start, width))
        start += width
    return segments


def _layers(measurement: Measurement) -> list[LayerTime]:
    if measurement.per_layer is not None:
        return _measured(measurement.per_layer)
    return _estimated(measurement.layers or [])


def _measured(found: PerLayer) -> list[LayerTime]:
    return [LayerTime(**layer.model_dump()) for layer in found.layers]


def _estimated(found: Sequence[EstimatedLayer]) -> list[LayerTime]:
    """Add up what was estimated operation by operation."""
    names = [name or OTHER for name in layer_names([layer.name for layer in found])]
    total = sum(layer.latency_ms for layer in found)
    groups: dict[str, list[EstimatedLayer]] = {}
    for name, layer in zip(names, found, strict=True):
        groups.setdefault(name, []).append(layer)
    times = {name: sum(layer.latency_ms for layer in own) for name, own in groups.items()}
    return [
        LayerTime(
            name=name,
            latency_ms=times[name],
            share=times[name] / total,
            macs=sum(layer.macs for layer in own),
        )
        for name, own in groups.items()
    ]
