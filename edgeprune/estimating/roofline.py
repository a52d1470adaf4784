"""A roofline: how long each kernel takes by the rates of a device, and what bounds it.

A kernel takes the longer of its arithmetic and its memory traffic (Williams, Waterman and
Patterson 2009), and what it takes to start it. Widths are rounded up to the tiles that the
hardware works in, and a product that cannot fill the device is slower in proportion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprune.devices import DeviceProfile
from edgeprune.errors import UsageError
from edgeprune.estimating.layers import GROUPED, PRODUCTS, Kernel

Floats = NDArray[np.float64]

ELEMENT_BYTES = {"fp32": 4, "fp16": 2}
# TensorRT computes fp32 in TF32 where tensor cores can, at half the rate of fp16.
TF32_FROM_SM = 8.0
# A unit of work is one output tile of 64 x 64 with 256 products each; the inner dimension counts
# by its root, for it can be divided, at the price of adding up.
UNIT_OUTPUTS, UNIT_DEPTH = 64 * 64, 256
PLAIN = "-plain"


@dataclass(frozen=True)
class Rates:
    """What a device does per second at one precision.

    Attributes:
        flops: peak of products, 2 per multiply-accumulate.
        plain_flops: peak without tensor cores.
        bandwidth: bytes of memory.
        hertz: cycles.
        cores: what shares the work: SMs of a GPU, 1 for a CPU.
        element_bytes: size of a number.
        tensor_cores: whether products run on them.
    """

    flops: float
    plain_flops: float
    bandwidth: float
    hertz: float
    cores: int
    element_bytes: int
    tensor_cores: bool


@dataclass(frozen=True)
class Coefficients:
    """How near a runtime comes to the peaks, fitted to latencies.

    Attributes:
        tile: m, n and k are rounded up to these.
        efficiency: share of the peak that a large product reaches, by kind; of devices without
            tensor cores by kind with ``-plain``. Above 1 where fewer multiplications do
            (Winograd's convolutions).
        stream: share of the bandwidth that is reached, by kind, or ``other``.
        small: units of work per core at which a product reaches half of its efficiency.
        launch_cycles: cycles per kernel.
        fuses: whether pointwise operations are merged into the kernel before them.
    """

    tile: tuple[int, int, int]
    efficiency: Mapping[str, float]
    stream: Mapping[str, float]
    small: float
    launch_cycles: float
    fuses: bool


@dataclass(frozen=True)
class Columns:
    """Kernels as arrays, all of the same length."""

    kind: NDArray[np.str_]
    count: Floats
    m: Floats
    n: Floats
    k: Floats
    reads: Floats
    weights: Floats
    writes: Floats
    fused: NDArray[np.bool_]


@dataclass(frozen=True)
class KernelTimes:
    """Seconds per kernel: arithmetic, memory traffic, start; ``total`` is what they come to."""

    compute: Floats
    memory: Floats
    launch: Floats

    @property
    def total(self) -> Floats:
        """The longer of arithmetic and traffic, and the start."""
        return np.maximum(self.compute, self.memory) + self.launch


def columns(kernels: Sequence[Kernel]) -> Columns:
    """Turn a list of kernels into arrays."""

    def floats(name: str) -> Floats:
        return np.array([getattr(kernel, name) for kernel in kernels], dtype=np.float64)

    return Columns(
        kind=np.array([kernel.kind for kernel in kernels]),
        count=floats("count"),
        m=floats("m"),
        n=floats("n"),
        k=floats("k"),
        reads=floats("reads"),
        weights=floats("weights"),
        writes=floats("writes"),
        fused=np.array([kernel.fused for kernel in kernels], dtype=np.bool_),
    )


def rates(profile: DeviceProfile, precision: str) -> Rates:
    """Return the rates of a device at a precision.

    Raises:
        UsageError: naming the figure that the profile lacks.
    """
    if profile.kind == "cpu":
        peak = _figure(profile, "fp32_tflops")
        return Rates(
            peak * 1e12,
            peak * 1e12,
            _figure(profile, "bandwidth_gbs") * 1e9,
            _figure(profile, "cpu_clock_mhz") * 1e6,
            cores=1,
            element_bytes=ELEMENT_BYTES[precision],
            tensor_cores=True,
        )
    plain = _figure(profile, "fp32_tflops") * (2 if precision == "fp16" else 1)
    tensor_cores = bool(profile.tensor_cores)
    half = _figure(profile, "fp16_dense_tflops")
    if precision == "fp32":
        tensor_cores = tensor_cores and float(profile.sm or 0) >= TF32_FROM_SM
    fast = half if precision == "fp16" else half / 2 if tensor_cores else plain
    return Rates(
        fast * 1e12,
        plain * 1e12,
        _figure(profile, "bandwidth_gbs") * 1e9,
        _figure(profile, "gpu_clock_mhz") * 1e6,
        cores=int(_figure(profile, "gpu_sms")),
        element_bytes=ELEMENT_BYTES[precision],
        tensor_cores=tensor_cores,
    )


def kernel_times(work: Columns, device: Rates, how: Coefficients) -> KernelTimes:
    """Return how long each kernel takes."""
    fused = work.fused & how.fuses
    m, n, k = (
        np.ceil(width / tile) * tile
        for width, tile in zip((work.m, work.n, work.k), how.tile, strict=True)
    )
    units = work.count * m * n / UNIT_OUTPUTS * np.sqrt(np.maximum(k, 64) / UNIT_DEPTH)
    filled = units / (units + how.small * device.cores)
    compute = np.zeros(len(m))
    for kind in PRODUCTS:
        here = work.kind == kind
        if kind == GROUPED:  # no tensor cores, and nothing to round: one output channel at a time
            flops = 2 * work.count * work.m * work.n * work.k
            compute[here] = (flops / (device.plain_flops * how.efficiency[kind]))[here]
        else:
            share = how.efficiency[kind if device.tensor_cores else kind + PLAIN]
            flops = 2 * work.count * m * n * k
            compute[here] = (flops / (device.flops * share * filled))[here]
    # What is fused reads only what the kernel before it did not just write.
    elements = np.where(
        fused,
        np.maximum(work.reads - work.writes, 0),
        work.reads + work.weights + work.writes,
    )
    reached = np.array([how.stream.get(kind, how.stream["other"]) for kind in work.kind])
    memory = elements * device.element_bytes / (device.bandwidth * reached)
    launch = np.where(fused, 0.0, how.launch_cycles / device.hertz)
    return KernelTimes(compute, memory, launch)


def _figure(profile: DeviceProfile, key: str) -> float:
    value = getattr(profile, key)
    if value is None:
        raise UsageError(
            f"device profile {profile.name!r} has no {key}: there is nothing to estimate from",
            hint="measure on the device itself, or give a profile of it by its path",
        )
    return float(value)
