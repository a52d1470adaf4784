"""What happened to the machine while it was measured on: other load, throttling, clocks."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.benchmarking import cgroup, nvml
from edgeprune.benchmarking.context import BUSY_CORES, frequency_mhz
from edgeprune.environment import read_count
from edgeprune.errors import UnavailableError

# Of /proc/stat: user, nice, system, irq and softirq are busy, steal is what another virtual machine
# had.
BUSY_FIELDS = (0, 1, 2, 5, 6)
STEAL_FIELD = 7
# So much time that the hypervisor takes is no accident, in cores.
STOLEN_CORES = 0.05


@dataclass(frozen=True)
class Snapshot:
    """Counters of one moment, in seconds of CPU time where not said; None where not told.

    ``own_s`` is what this process and its ended children used; ``thermal_events`` how often cores
    were slowed down for their temperature.
    """

    at_s: float
    own_s: float
    busy_s: float | None
    stolen_s: float | None
    quota_stopped_s: float | None
    thermal_events: int | None


def take(root: Path = Path("/")) -> Snapshot:
    """Read all counters now."""
    spent = _cpu_seconds(root)
    times = os.times()
    return Snapshot(
        at_s=time.monotonic(),
        own_s=times.user + times.system + times.children_user + times.children_system,
        busy_s=sum(spent[field] for field in BUSY_FIELDS) if spent else None,
        stolen_s=spent[STEAL_FIELD] if spent else None,
        quota_stopped_s=cgroup.throttled_s(root),
        thermal_events=_thermal_events(root),
    )


def between(before: Snapshot, after: Snapshot) -> dict[str, Any]:
    """Return what happened between two moments; null where it is not told."""
    seconds = after.at_s - before.at_s
    busy = _grown(before.busy_s, after.busy_s)
    stolen = _grown(before.stolen_s, after.stolen_s)
    own = after.own_s - before.own_s
    return {
        "seconds": round(seconds, 2),
        "other_busy_cores": round(max(busy - own, 0.0) / seconds, 2) if busy is not None else None,
        "stolen_cores": round(stolen / seconds, 2) if stolen is not None else None,
        "quota_stopped_s": _grown(before.quota_stopped_s, after.quota_stopped_s),
        "thermal_events": _grown(before.thermal_events, after.thermal_events),
    }


def warnings(found: dict[str, Any] | None) -> list[str]:
    """Return what happened that makes latencies unreliable, one sentence each."""
    if found is None:
        return []
    texts = []
    if (found["other_busy_cores"] or 0) > BUSY_CORES:
        texts.append(f"other programs used {found['other_busy_cores']:.1f} cores meanwhile")
    if (found["stolen_cores"] or 0) > STOLEN_CORES:
        texts.append(f"the hypervisor gave {found['stolen_cores']:.2f} cores to others meanwhile")
    if found["quota_stopped_s"]:
        texts.append(f"the container's CPU limit stopped it for {found['quota_stopped_s']:.2g} s")
    if found["thermal_events"]:
        texts.append(f"cores were slowed down for heat {found['thermal_events']} times meanwhile")
    if found["gpu_throttling"]:
        texts.append(f"the GPU's clock was lowered by {' and '.join(found['gpu_throttling'])}")
    return texts


def _grown(before: float | None, after: float | None) -> float | None:
    return after - before if before is not None and after is not None else None


def _cpu_seconds(root: Path) -> list[float] | None:
    """Return what all cores together spent on what, field by field, since the start."""
    try:
        with (root / "proc/stat").open(encoding="ascii") as lines:
            words = lines.readline().split()
    except (OSError, UnicodeDecodeError):
        return None
    if words[:1] != ["cpu"] or len(words) <= STEAL_FIELD + 1:
        return None
    return [int(word) / os.sysconf("SC_CLK_TCK") for word in words[1:]]


def _thermal_events(root: Path) -> int | None:
    """Return how often all cores and packages were throttled since the start (x86, Intel)."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
    counts = [count for count in map(read_count, files) if count is not None]
    return sum(counts) if counts else None


def _gpu_throttling() -> list[str] | None:
    try:
        library = nvml.open_nvml()
        return nvml.throttling(library, nvml.gpu_handle(library))
    except UnavailableError:
        return None


class Watch:
    """Watches the machine over a measurement; :meth:`look` is called while it is still hot."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._before = take(root)
        self._clocks_mhz: list[float] = []
        self._throttling: set[str] | None = None

    def look(self) -> None:
        """Read the clock of the CPU, and what holds that of the GPU down."""
        clock = frequency_mhz(self._root)
        if clock is not None:
            self._clocks_mhz.append(clock)
        reasons = _gpu_throttling()
        if reasons is not None:
            self._throttling = (self._throttling or set()) | set(reasons)

    def facts(self) -> dict[str, Any]:
        """Return what happened since the start; null where it is not told."""
        return {
            **between(self._before, take(self._root)),
            "least_frequency_mhz": min(self._clocks_mhz, default=None),
            "gpu_throttling": None if self._throttling is None else sorted(self._throttling),
        }
