"""What stands beside a measurement: the machine, its state, the versions, and honest warnings.

Whatever is not told here is null. Files of the system are looked up under ``root``; another one
stands for another machine.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from edgeprune.benchmarking import nvml, tegra
from edgeprune.benchmarking.cgroup import cpu_limit, memory_limit_bytes
from edgeprune.environment import available_cores, cpu_name, read_count, read_line, version_of
from edgeprune.errors import UnavailableError
from edgeprune.machine import find_board

# Above this many busy cores before the start, somebody else is using the machine. The load
# average would also count what this very program did in the minute before.
BUSY_CORES = 0.3
BUSY_WINDOW_S = 0.3
PROGRAM_TIMEOUT_S = 10
SLOW_MODES = ("low-power", "quiet", "cool")
CPUFREQ = "sys/devices/system/cpu/cpu0/cpufreq"


def describe(threads: int, packages: tuple[str, ...], root: Path = Path("/")) -> dict[str, Any]:
    """Return what a reader must know of this machine to judge a number; null where unknown."""
    memory, board = memory_limit_bytes(root), find_board(root)
    return {
        "board": board.model if board else None,
        "l4t": board.l4t if board else None,
        "jetpack": board.jetpack if board else None,
        "cpu": cpu_name(root),
        "cores": os.cpu_count(),
        "available_cores": available_cores(),
        "cpu_limit": cpu_limit(root),
        "memory_limit_mb": memory / 1e6 if memory is not None else None,
        "threads": threads,
        "busy_cores": _busy_cores(),
        "load_average": _load_average(),
        "governor": read_line(root / CPUFREQ / "scaling_governor"),
        "frequency_mhz": frequency_mhz(root),
        "max_frequency_mhz": max_frequency_mhz(root),
        "power_mode": power_mode(root),
        "fastest_power_mode": tegra.fastest_mode(root),
        "on_battery": on_battery(root),
        "gpu": tegra.describe(root) or _gpu(),
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
    if busy is not None and busy > BUSY_CORES:
        found.append(f"{busy:.1f} cores were busy before the start: other programs were running")
    if environment["governor"] == "powersave":
        found.append("the CPU's governor is powersave: its clock may be lowered at any time")
    if environment.get("power_mode") in SLOW_MODES:
        found.append(f"the power mode is {environment['power_mode']}: clocks are held down")
    if environment.get("on_battery"):
        found.append("it runs on battery: clocks may be held down")
    found += _board_warnings(environment)
    threads, cores = environment["threads"], environment["available_cores"]
    if threads > cores:
        found.append(f"{threads} threads share {cores} available cores")
    limit = environment["cpu_limit"]
    if limit is not None and limit < min(threads, cores):
        found.append(f"the container may use {limit:g} cores' time, less than {threads} threads")
    return found


def _board_warnings(environment: dict[str, Any]) -> list[str]:
    """Return what about a Jetson makes latencies unreliable, with the commands that help."""
    found = []
    mode, fastest = environment.get("power_mode"), environment.get("fastest_power_mode")
    if mode is not None and fastest is not None and mode != fastest["name"]:
        found.append(
            f"the power mode is {mode}, not {fastest['name']}, which allows most:"
            f" sudo nvpmodel -m {fastest['id']} sets it"
        )
    if environment.get("board") is not None and mode is None:
        found.append("the power mode is not known: sudo nvpmodel -q tells it")
    locked = (environment.get("gpu") or {}).get("locked")
    if locked is False:
        found.append("the GPU's clock is not locked: sudo jetson_clocks locks it")
    shown = environment.get("clocks")  # what jetson_clocks told of another machine
    if environment.get("board") is not None and locked is None and shown is None:
        found.append("whether clocks are locked is not known: sudo jetson_clocks locks them")
    return found


def frequency_mhz(root: Path = Path("/")) -> float | None:
    """Return the clock of the first core now."""
    found = _mhz(root / CPUFREQ / "scaling_cur_freq")
    if found is not None:
        return found
    # Virtual machines have no cpufreq.
    line = re.search(r"^cpu MHz\s*:\s*([\d.]+)\s*$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    return float(line[1]) if line else None


def max_frequency_mhz(root: Path = Path("/")) -> float | None:
    """Return the highest clock of the first core."""
    return _mhz(root / CPUFREQ / "cpuinfo_max_freq")


def power_mode(root: Path = Path("/")) -> str | None:
    """Return the mode that nvpmodel (Jetson) or the firmware (ACPI) is in."""
    profile = read_line(root / "sys/firmware/acpi/platform_profile")
    if profile is not None:
        return profile
    program = shutil.which("nvpmodel")
    if program is None:
        return None
    try:
        answer = subprocess.run(
            [program, "-q"], capture_output=True, text=True, timeout=PROGRAM_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_nvpmodel(answer.stdout)


def parse_nvpmodel(text: str) -> str | None:
    """Return the name of the mode that ``nvpmodel -q`` prints."""
    found = re.search(r"^NV Power Mode:\s*(\S+)\s*$", text, re.MULTILINE)
    return found[1] if found else None


def on_battery(root: Path = Path("/")) -> bool | None:
    """Tell whether a battery drives the machine; None if it has no supply that says so."""
    supplies = root / "sys/class/power_supply"
    online = [
        read_line(supply / "online")
        for supply in (sorted(supplies.iterdir()) if supplies.is_dir() else [])
        if read_line(supply / "type") in ("Mains", "USB")
    ]
    known = [text for text in online if text is not None]
    return not any(text == "1" for text in known) if known else None


def _busy_cores() -> float:
    """Return how many cores were busy while this process slept for a moment."""
    share = float(psutil.cpu_percent(interval=BUSY_WINDOW_S)) / 100
    return round(share * (psutil.cpu_count() or 1), 2)


def _load_average() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _gpu() -> dict[str, Any] | None:
    try:
        library = nvml.open_nvml()
        return nvml.describe(library, nvml.gpu_handle(library))
    except UnavailableError:
        from edgeprune.machine import query_gpus

        gpus = query_gpus()
        return {"name": gpus[0].name, "driver": gpus[0].driver} if gpus else None


def _mhz(path: Path) -> float | None:
    khz = read_count(path)
    return khz / 1000 if khz is not None else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
