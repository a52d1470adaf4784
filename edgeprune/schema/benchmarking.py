"""What bench reports: measurements and estimates, with their comparisons."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from edgeprune.schema.document import Document, Facts


class Latency(Facts):
    """Latency of one call in milliseconds; ``ci95`` is the interval on the median (p50).

    A percentile is null where there are too few samples to quote it. Of an estimate, all but the
    median and its interval is null.
    """

    min: float | None
    p50: float
    p90: float | None
    p95: float | None
    p99: float | None
    mean: float | None
    std: float | None
    ci95: tuple[float, float]


class Memory(Facts):
    """Memory in MB (10^6 bytes): the weights, and the peak of the measuring process."""

    weights: float | None
    peak_rss: float | None
    device_peak: float | None


class RawCalls(Facts):
    """Latencies of single calls in the order in which they were taken.

    ``rounds`` is how many calls of each round are kept, every ``every``-th; ``data`` is the base64
    text of the zlib-compressed milliseconds, little-endian float32, all rounds one after another.
    """

    rounds: list[int]
    every: int = 1
    data: str


class EstimatedLayer(Facts):
    """What an estimate gives the operations of one kind in one layer, and what bounds them."""

    name: str
    kind: str
    macs: int
    latency_ms: float
    bound: Literal["compute", "memory", "launch"]


class Measurement(Facts):
    """One model, runtime and batch size, measured in a process of its own.

    ``fingerprint`` is the ``weights_sha256`` of the artifact that was measured, also when it
    was measured as an exported file. ``energy_mj`` is per image; what was counted, or why nothing
    was, stands in the environment. ``warmup`` calls came before, until the rate was ``stable`` or
    the time for it ran out (``cap``), which ``stop`` says; ``stopped_by`` says why measuring ended:
    ``precision``, ``max_time`` or ``min_time`` (there was no target).
    ``waiting_share`` (0 to 1) is how much of the time that its threads wanted a core they waited
    for one. An estimate (``estimated``) has no samples, and says how its time is made up in
    ``layers``.
    """

    model: str
    artifact: str | None
    file: str | None
    runtime: str
    device: str
    precision: str
    batch: int
    threads: int
    latency_ms: Latency
    throughput_ips: float
    memory_mb: Memory
    energy_mj: float | None
    samples: int
    estimated: bool
    macs: int | None = None
    params: int | None = None
    warmup: int | None = None
    stop: str | None = None
    rounds: int | None = None
    stopped_by: Literal["precision", "max_time", "min_time"] | None = None
    waiting_share: float | None = None
    fingerprint: str | None = None
    raw: RawCalls | None = None
    layers: list[EstimatedLayer] | None = None


class Comparison(Facts):
    """Speed-up of a model over the baseline, with a 95 % interval.

    The median over interleaved rounds of the ratio of the two medians within a round; of
    estimates, the ratio of the estimates.
    """

    model: str
    baseline: str
    batch: int
    speedup: float
    ci95: tuple[float, float]
    macs_ratio: float | None = None


class BenchResult(Document):
    """What ``edgeprune bench`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/bench@1"

    environment: dict[str, Any]
    measurements: list[Measurement]
    comparisons: list[Comparison]
    warnings: list[str] = []
