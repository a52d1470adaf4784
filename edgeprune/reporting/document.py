"""What a report says, as data: every format is a view of :class:`ReportData`."""

from __future__ import annotations

from typing import Any, ClassVar

from edgeprune.schema import DGResult, Document, Facts, Made, Selection

Interval = tuple[float, float]


class LayerWidth(Facts):
    """Width of one dimension of one layer; ``before`` is null where the dense one is unknown."""

    name: str
    dim: str
    before: int | None
    after: int


class ReportModel(Facts):
    """One artifact: how big it is, how it was made, how well it does.

    ``dense_reference`` is the label of the dense artifact that it is held against;
    ``drop_points`` is its accuracy on the target minus the dense one's, in points. Where both keep
    their predictions, ``drop_ci95`` is the interval of a paired bootstrap and ``flipped`` the share
    of answers that differ, percent.
    """

    label: str
    artifact: str
    fingerprint: str
    model: str
    family: str
    img_size: int
    is_dense: bool
    metric: str | None
    ratio: float | None
    budget: str | None
    params: int
    macs: int
    dense_params: int
    dense_macs: int
    macs_ratio: float
    dg: DGResult | None
    dense_reference: str | None = None
    drop_points: float | None = None
    drop_ci95: Interval | None = None
    flipped: float | None = None
    layers: list[LayerWidth]
    made: list[Made]


class ReportRow(Facts):
    """One measurement of one model; without a measurement or without an artifact, one row too.

    A null figure was not measured or not scored. ``speedup`` is the ratio of median latencies
    against ``baseline``; ``seed`` is that of the last training; ``accuracy_note`` says why a scored
    artifact has no accuracy here.
    """

    label: str
    short: str
    artifact: str | None = None
    fingerprint: str | None = None
    seed: int | None = None
    model: str | None = None
    family: str | None = None
    is_dense: bool | None = None
    metric: str | None = None
    ratio: float | None = None
    budget: str | None = None
    params: int | None = None
    macs: int | None = None
    macs_ratio: float | None = None
    dataset: str | None = None
    target: str | None = None
    split: str | None = None
    split_seed: int | None = None
    holdout: float | None = None
    selection: Selection | None = None
    target_accuracy: float | None = None
    target_ci95: Interval | None = None
    target_n: int | None = None
    drop_points: float | None = None
    drop_ci95: Interval | None = None
    flipped: float | None = None
    source_val_accuracy: float | None = None
    balanced_accuracy: float | None = None
    calibration_error: float | None = None
    worst_domain: str | None = None
    worst_domain_accuracy: float | None = None
    accuracy_note: str | None = None
    bench: str | None = None
    file: str | None = None
    runtime: str | None = None
    device: str | None = None
    precision: str | None = None
    batch: int | None = None
    threads: int | None = None
    latency_p50_ms: float | None = None
    latency_p90_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    latency_ci95_ms: Interval | None = None
    throughput_ips: float | None = None
    peak_rss_mb: float | None = None
    device_peak_mb: float | None = None
    energy_mj: float | None = None
    samples: int | None = None
    estimated: bool | None = None
    baseline: str | None = None
    is_baseline: bool | None = None
    speedup: float | None = None
    speedup_ci95: Interval | None = None
    speedup_estimated: bool | None = None


class LayerTime(Facts):
    """What one layer takes of a call; what an estimate, or a measurement, does not tell is null.

    ``share`` is of the time of all layers. ``energy_by_time_mj`` is the image's energy shared out
    by time, not measured.
    """

    name: str
    latency_ms: float
    share: float
    operators: int | None = None
    parameter_bytes: int | None = None
    activation_bytes: int | None = None
    energy_by_time_mj: float | None = None
    macs: int | None = None


class ModelLayers(Facts):
    """The layers of one measurement or estimate, in the network's order."""

    label: str
    setting: str
    estimated: bool
    latency_p50_ms: float
    layers: list[LayerTime]


class BenchFacts(Facts):
    """Where one bench result comes from and what it was measured on."""

    path: str
    environment: dict[str, Any]


class Choice(Facts):
    """The best model within a budget, among those measured in one way.

    ``label`` is null where none is known to keep it; ``not_judged`` names those that lack a figure
    which the budget, or the choice, asks for.
    """

    setting: str
    budget: list[str]
    rule: str
    label: str | None
    sentence: str
    estimated: bool
    judged: int
    not_judged: list[str]


class ReportData(Document):
    """What ``edgeprune report`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/report@1"

    title: str
    headline: str
    headline_rule: str | None
    notes: list[str]
    warnings: list[str]
    choices: list[Choice]
    rows: list[ReportRow]
    models: list[ReportModel]
    layers: list[ModelLayers]
    benches: list[BenchFacts]
    versions: dict[str, str]
