"""Memory of a process, as the system and the GPU's driver count it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edgeprune.benchmarking import nvml
from edgeprune.errors import UnavailableError

KIB = 1024


def peak_rss_bytes(pid: int | None = None) -> int | None:
    """Return the largest resident set a process has had since it started, in bytes.

    Args:
        pid: of the process; this one if None.

    On Linux that is VmHWM: ru_maxrss survives exec and would report the peak of the process
    that started this one if that was larger. None where the system does not say.
    """
    try:
        folder = Path("/proc", "self" if pid is None else str(pid))
        status = (folder / "status").read_text(encoding="ascii", errors="replace")
    except OSError:
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * KIB
    return _max_rss_bytes() if pid is None else None


def device_bytes(pid: int | None = None) -> int | None:
    """Return what a process holds on its NVIDIA GPU now; None where the driver does not say.

    Args:
        pid: of the process; this one if None.
    """
    try:
        library = nvml.open_nvml()
        return nvml.process_bytes(library, nvml.gpu_handle(library), pid or os.getpid())
    except UnavailableError:
        return None


def _max_rss_bytes() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * KIB
