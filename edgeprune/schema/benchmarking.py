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
    """Memory in MB (10^6 bytes): the weights, and the peak of the measuring process.

    ``peak_rss`` is the process's largest resident set. ``device_peak`` is what the GPU's driver
    (NVML) says that the process holds, with torch the most that its tensors held. On a Jetson,
    where CPU and GPU share their memory and no driver tells, it is by how much the memory that the
    whole board had available (MemAvailable) fell at most while the process was started, and the
    model loaded and run: process, runtime and model together, and whatever other programs took
    meanwhile. Null on the CPU, with ``--host``, and where nothing tells.
    """

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


class MeasuredLayer(Facts):
    """What one layer takes of a call, what is stored for it, and what it writes.

    ``share`` is its share of the time in operators, ``latency_ms`` that share of the call's p50.
    ``parameter_bytes`` are of the tensors that it reads from the file, ``activation_bytes`` of what
    its ``operators`` write. ``energy_by_time_mj`` is not measured: it is the image's energy shared
    out by time, null where no energy was measured.
    """

    name: str
    latency_ms: float
    share: float
    operators: int
    parameter_bytes: int
    activation_bytes: int
    energy_by_time_mj: float | None


class PerLayer(Facts):
    """The layers of a call in the network's order, from ``calls`` that the runtime profiled.

    They ran after all others were timed. ``profiled_call_ms`` is one of them, ``operators_ms`` the
    part of it that was spent in operators, less what noting each cost (``noting_ms``, null where it
    is not known and nothing was taken off).
    """

    calls: int
    profiled_call_ms: float
    operators_ms: float
    noting_ms: float | None
    layers: list[MeasuredLayer]


class TransferTimes(Facts):
    """Medians, in ms, of copying a batch of images to the device and its results back."""

    to_device: float
    to_host: float


class PreprocessingTimes(Facts):
    """Medians over images, in ms per image on one CPU thread; ``total`` is that of all three.

    ``normalise`` is 0 where the model does it itself.
    """

    decode: float
    resize: float
    normalise: float
    total: float
    images: int


class Sustained(Facts):
    """Images per second in each window of a long load.

    ``last_over_first`` is the mean of the last tenth of the windows over that of the first: below 1
    where the device was throttled.
    """

    window_s: float
    rates_ips: list[float]
    last_over_first: float


class ThroughputPoint(Facts):
    """Images per second at one batch size."""

    batch: int
    throughput_ips: float


class Saturation(Facts):
    """The batch size of the highest throughput of a model, and the sweep in which it was found.

    ``over_baseline`` is its throughput over the highest of the baseline.
    """

    model: str
    batch: int
    throughput_ips: float
    ended_by: Literal["saturated", "largest_batch", "failed"]
    over_baseline: float | None
    points: list[ThroughputPoint]


class Measurement(Facts):
    """One model, runtime and batch size, measured in a process of its own.

    ``fingerprint`` is the ``weights_sha256`` of the artifact that was measured, also when it
    was measured as an exported file. ``energy_mj`` is per image; what was counted, or why nothing
    was, stands in the environment. ``warmup`` calls came before, until the rate was ``stable`` or
    the time for it ran out (``cap``), which ``stop`` says; ``stopped_by`` says why measuring ended:
    ``precision``, ``max_time``, ``min_time`` (there was no target) or ``duration`` (sustained
    load). Of paced requests ``dropped`` came while the one before still ran. ``waiting_share`` (0
    to 1) is how much of the time that its threads wanted a core they waited for one. An estimate
    (``estimated``) has no samples, and says how its time is made up in ``layers``; of a measurement
    ``per_layer`` says it, if it was asked for.
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
    stopped_by: Literal["precision", "max_time", "min_time", "duration"] | None = None
    dropped: int | None = None
    sustained: Sustained | None = None
    transfer_ms: TransferTimes | None = None
    preprocessing_ms: PreprocessingTimes | None = None
    waiting_share: float | None = None
    fingerprint: str | None = None
    raw: RawCalls | None = None
    layers: list[EstimatedLayer] | None = None
    per_layer: PerLayer | None = None


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
    """What ``edgeprune bench`` reports; results of before there were scenarios are of latency."""

    SCHEMA: ClassVar[str] = "edgeprune/bench@1"

    scenario: str = "latency"
    period_ms: float | None = None
    duration_s: float | None = None

    environment: dict[str, Any]
    measurements: list[Measurement]
    comparisons: list[Comparison]
    warnings: list[str] = []
    saturation: list[Saturation] | None = None
