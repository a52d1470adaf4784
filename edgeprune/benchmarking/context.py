"""What stands beside a measurement: the machine, its state, the versions, and honest warnings."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import psutil

from edgeprune.environment import available_cores, cpu_name, version_of

# Above this many busy cores before the start, somebody else is using the machine. The load
# average would also count what this very program did in the minute before.
BUSY_CORES = 0.3
BUSY_WINDOW_S = 0.5


def describe(threads: int, packages: tuple[str, ...], root: Path = Path("/")) -> dict[str, Any]:
    """Return what a reader must know of this machine to judge a number; null where unknown."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "available_cores": available_cores(),
        "cpu_limit": cpu_limit(root),
        "threads": threads,
        "busy_cores": _busy_cores(),
        "load_average": _load_average(),
        "governor": _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "frequency_mhz": _frequency_mhz(root),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in ("edgeprune", *packages)},
        "command": shlex.join(sys.argv),
    }


def warnings(environment: dict[str, Any]) -> list[str]:
    """Return what about this machine makes latencies unreliable, one sentence each."""
    found = []
    busy = environment["busy_cores"]
    if busy > BUSY_CORES:
        found.append(f"{busy:.1f} cores were busy before the start: other programs were running")
    if environment["governor"] == "powersave":
        found.append("the CPU's governor is powersave: its clock may be lowered at any time")
    threads, cores = environment["threads"], environment["available_cores"]
    if threads > cores:
        found.append(f"{threads} threads share {cores} available cores")
    limit = environment["cpu_limit"]
    if limit is not None and limit < min(threads, cores):
        found.append(f"the container may use {limit:g} cores' time, less than {threads} threads")
    return found


def cpu_limit(root: Path = Path("/")) -> float | None:
    """Return the cores' worth of time that the control group allows, None if there is no limit."""
    group = root / "sys/fs/cgroup"
    unified = _read(group / "cpu.max")
    if unified is not None:
        quota, _, period = unified.partition(" ")
    else:
        quota = _read(group / "cpu/cpu.cfs_quota_us") or ""
        period = _read(group / "cpu/cpu.cfs_period_us") or ""
    if not quota.isdigit() or not period.isdigit():
        return None
    return int(quota) / int(period)


def _busy_cores() -> float:
    """Return how many cores were busy while this process slept for a moment."""
    share = float(psutil.cpu_percent(interval=BUSY_WINDOW_S)) / 100
    return round(share * (psutil.cpu_count() or 1), 2)


def _load_average() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _frequency_mhz(root: Path) -> float | None:
    text = _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    return int(text) / 1000 if text is not None and text.isdigit() else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
