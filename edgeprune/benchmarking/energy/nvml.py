"""NVML: the energy counter of an NVIDIA GPU (Volta and later; no Jetson has it)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeprune.benchmarking.energy.base import Reading
from edgeprune.benchmarking.nvml import gpu_handle, open_nvml
from edgeprune.errors import UnavailableError

DEVICES = ("cuda",)
COUNTS = "the whole GPU board; neither the CPU nor the rest of the machine"


class NvmlMeter:
    """A counter in mJ since the driver was loaded."""

    spec: dict[str, Any] = {}  # noqa: RUF012  (nothing to tell: the process finds its own GPU)

    def joules(self, before: Reading, after: Reading) -> float | None:
        """Return the energy between two readings; None if the driver was loaded anew."""
        used_mj = after[0] - before[0]
        return used_mj / 1000 if used_mj >= 0 else None


@contextmanager
def open_meter(root: Path) -> Iterator[NvmlMeter]:
    """Check that the GPU has the counter.

    Raises:
        UnavailableError: if NVML is not there, or the GPU does not count.
    """
    check(open_nvml())
    yield NvmlMeter()


def check(library: Any) -> None:
    """Take one reading from the bindings of NVML.

    Raises:
        UnavailableError: if the GPU does not count.
    """
    try:
        library.nvmlDeviceGetTotalEnergyConsumption(gpu_handle(library))
    except library.NVMLError as error:
        raise UnavailableError(f"this GPU does not count its energy ({error})") from None


def reader(spec: dict[str, Any]) -> Callable[[], Reading]:
    """Return a function that reads the counter of the process's GPU."""
    library = open_nvml()
    handle = gpu_handle(library)
    return lambda: [library.nvmlDeviceGetTotalEnergyConsumption(handle)]
