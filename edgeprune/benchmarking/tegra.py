"""Clocks and power modes of a Jetson, from the kernel's frequency scaling and nvpmodel's file.

NVML does not tell them there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgeprune.environment import read_count, read_line

# What the device tree calls it (Nano, TX2, Xavier, Orin; source: jetson_stats).
NAMES = ("gpu", "gp10b", "gv11b", "ga10b")
HZ_PER_MHZ = 1e6
# "< POWER_MODEL ID=2 NAME=MAXN_SUPER >"; which number a mode has differs by board and JetPack.
MODES = "etc/nvpmodel.conf"
MODE = re.compile(r"^< *POWER_MODEL +ID=(\d+) +NAME=(\S+) *>", re.MULTILINE)
UNLIMITED = "MAXN"


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


def fastest_mode(root: Path = Path("/")) -> dict[str, Any] | None:
    """Return ``id`` and ``name`` of the power mode that allows most; None where no file tells.

    That is one without a limit (MAXN), else the first of those with most watts in the name.
    """
    try:
        text = (root / MODES).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    modes = [(int(number), name) for number, name in MODE.findall(text)]
    ranked = [mode for mode in modes if _watts(mode[1]) > 0]
    if not ranked:
        return None
    number, name = max(ranked, key=lambda mode: _watts(mode[1]))
    return {"id": number, "name": name}


def _watts(mode: str) -> float:
    """Return what a mode allows by its name, such as MODE_15W_6CORE; 0 if that does not tell."""
    if mode.startswith(UNLIMITED):
        return float("inf")
    found = re.search(r"(\d+)W", mode)
    return float(found[1]) if found else 0.0


def _mhz(path: Path) -> float | None:
    hertz = read_count(path)
    return hertz / HZ_PER_MHZ if hertz is not None else None
