"""The GPU of a Jetson as the kernel's frequency scaling (devfreq) shows it; NVML does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeprune.environment import read_count, read_line

# What the device tree calls it (Nano, TX2, Xavier, Orin; source: jetson_stats).
NAMES = ("gpu", "gp10b", "gv11b", "ga10b")
HZ_PER_MHZ = 1e6


def describe(root: Path = Path("/")) -> dict[str, Any] | None:
    """Return name, clocks in MHz, and whether they are locked; None where there is no such GPU.

    ``locked`` if it may have one clock only, which is what jetson_clocks does.
    """
    folder = root / "sys/class/devfreq"
    for device in sorted(folder.iterdir()) if folder.is_dir() else []:
        name = (read_line(device / "device/of_node/name") or "").strip("\0")
        if name in NAMES:
            least, most = _mhz(device / "min_freq"), _mhz(device / "max_freq")
            return {
                "name": name,
                "clock_mhz": _mhz(device / "cur_freq"),
                "max_clock_mhz": most,
                "locked": least == most if least is not None and most is not None else None,
            }
    return None


def _mhz(path: Path) -> float | None:
    hertz = read_count(path)
    return hertz / HZ_PER_MHZ if hertz is not None else None
