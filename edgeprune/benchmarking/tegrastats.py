"""Reading what tegrastats prints on a Jetson: JetPack 4 to 7.

Fields come and go with the board, the version and the rights of the user: clocks of the memory
need root, JetPack 6 adds engines, JetPack 7 a third figure per rail.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from edgeprune.errors import ResultError
from edgeprune.schema import Facts

# Zones that are switched off report -256 C.
COLDEST_C = -200.0

_WORD, _END = r"(?<!\S)", r"(?!\S)"
_TIME = re.compile(r"^\s*(\d\d-\d\d-\d{4} \d\d:\d\d:\d\d) ")
_MEMORY = r" +(\d{1,9})/(\d{1,9})MB" + r"(?=[\s(]|$)"
_RAM = re.compile(_WORD + "RAM" + _MEMORY)
_SWAP = re.compile(_WORD + "SWAP" + _MEMORY)
_CPU = re.compile(_WORD + r"CPU +\[([^\]]*)\]" + _END)
_CORE = re.compile(r"(\d{1,9})%(?:@(\d{1,9}))?")
_GPU = re.compile(_WORD + r"GR3D\d*_FREQ +(\d{1,9})%(?:@(?:(\d{1,9})|\[([\d,]{1,99})\]))?" + _END)
_EMC = re.compile(_WORD + r"EMC_FREQ +(\d{1,9})%(?:@(\d{1,9}))?" + _END)
_TEMPERATURE = re.compile(_WORD + r"(\w+)@(-?\d{1,9}(?:\.\d+)?)C(?:/-?\d{1,9}(?:\.\d+)?C)?" + _END)
_RAIL = re.compile(_WORD + r"([A-Za-z]\w*) +(\d{1,9})(mW|)/(\d{1,9})\3(?:/(\d{1,9})\3)?" + _END)

# What the whole board draws: one rail where there is one that measures all, else their sum.
# Source: jetson_stats, which adds up the same rails.
BOARD_RAILS = (
    ("POM_5V_IN",),
    ("VDD_IN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)


class Core(Facts):
    """Load and clock of one CPU core; the clock is None where it is not told."""

    percent: int
    mhz: int | None


class Rail(Facts):
    """Power on one rail in mW: now, on average since the start, and the highest (JetPack 7)."""

    now_mw: int
    average_mw: int
    max_mw: int | None = None


class Sample(Facts):
    """One line of tegrastats; None or empty where the line does not say.

    ``cpus`` holds None for a core that is off; ``gpu_mhz`` one clock per cluster of the GPU.
    """

    time: datetime | None = None
    ram_used_mib: int
    ram_total_mib: int
    swap_used_mib: int | None = None
    swap_total_mib: int | None = None
    cpus: tuple[Core | None, ...] = ()
    gpu_percent: int | None = None
    gpu_mhz: tuple[int, ...] = ()
    emc_percent: int | None = None
    emc_mhz: int | None = None
    temperatures_c: dict[str, float]
    rails: dict[str, Rail]

    @property
    def board_mw(self) -> int | None:
        """What the whole board draws now, in mW; None if its rails are not known."""
        for names in BOARD_RAILS:
            if all(name in self.rails for name in names):
                return sum(self.rails[name].now_mw for name in names)
        return None


def parse_log(text: str) -> list[Sample]:
    """Read a log; a last line without its end is unfinished and left out.

    Raises:
        ResultError: naming the first line that cannot be read, or if there is none at all.
    """
    lines = text.split("\n")[:-1]
    samples = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                samples.append(parse_line(line))
            except ResultError as error:
                raise ResultError(f"line {number} of the tegrastats log: {error}") from None
    if not samples:
        raise ResultError("the tegrastats log holds no complete line")
    return samples


def readable(text: str) -> list[Sample]:
    """Read what can be read of a log, for a summary; an unfinished last line is left out."""
    samples = []
    for line in text.split("\n")[:-1]:
        try:
            samples.append(parse_line(line))
        except ResultError:
            continue
    return samples


def summary(samples: Sequence[Sample]) -> dict[str, Any] | None:
    """Return what tegrastats says of a whole run, None without a sample."""
    if not samples:
        return None
    powers = [sample.board_mw for sample in samples if sample.board_mw is not None]
    gpu = [sample.gpu_percent for sample in samples if sample.gpu_percent is not None]
    clocks = [mhz for sample in samples for mhz in sample.gpu_mhz]
    zones = {zone for sample in samples for zone in sample.temperatures_c}
    return {
        "samples": len(samples),
        "board_mw_mean": statistics.fmean(powers) if powers else None,
        "ram_used_mib_max": max(sample.ram_used_mib for sample in samples),
        "gpu_percent_max": max(gpu, default=None),
        "gpu_mhz_min": min(clocks, default=None),
        "gpu_mhz_max": max(clocks, default=None),
        "temperatures_c_max": {
            zone: max(s.temperatures_c[zone] for s in samples if zone in s.temperatures_c)
            for zone in sorted(zones)
        },
    }


def parse_line(line: str) -> Sample:
    """Read one line.

    Raises:
        ResultError: if it holds no RAM, or a figure that cannot be true.
    """
    ram = _RAM.search(line)
    if ram is None:
        raise ResultError(f"{_brief(line)!r} is no tegrastats line: it has no RAM used/totalMB")
    swap, cpu, emc = _SWAP.search(line), _CPU.search(line), _EMC.search(line)
    gpus = list(_GPU.finditer(line))
    temperatures = {name: float(c) for name, c in _TEMPERATURE.findall(line)}
    used, total = _memory(ram, line)
    swap_used, swap_total = _memory(swap, line) if swap else (None, None)
    return Sample(
        time=_time(line),
        ram_used_mib=used,
        ram_total_mib=total,
        swap_used_mib=swap_used,
        swap_total_mib=swap_total,
        cpus=tuple(_core(text.strip(), line) for text in cpu.group(1).split(",")) if cpu else (),
        gpu_percent=max((_percent(gpu.group(1), line) for gpu in gpus), default=None),
        gpu_mhz=tuple(int(mhz) for gpu in gpus for mhz in _clocks(gpu)),
        emc_percent=_percent(emc.group(1), line) if emc else None,
        emc_mhz=int(emc.group(2)) if emc and emc.group(2) else None,
        temperatures_c={name: c for name, c in temperatures.items() if c > COLDEST_C},
        rails={
            name: Rail(now_mw=int(now), average_mw=int(mean), max_mw=int(top) if top else None)
            for name, now, _, mean, top in _RAIL.findall(line)
            if name != "NC"  # not connected
        },
    )


def _time(line: str) -> datetime | None:
    found = _TIME.match(line)
    if found is None:
        return None
    try:
        return datetime.strptime(found.group(1), "%m-%d-%Y %H:%M:%S")
    except ValueError:
        raise ResultError(f"{found.group(1)!r} is no time, in {_brief(line)!r}") from None


def _memory(found: re.Match[str], line: str) -> tuple[int, int]:
    used, total = int(found.group(1)), int(found.group(2))
    if used > total:
        raise ResultError(f"{used} MB are used of {total} in {_brief(line)!r}")
    return used, total


def _core(text: str, line: str) -> Core | None:
    if text == "off":
        return None
    found = _CORE.fullmatch(text)
    if found is None:
        raise ResultError(f"{text!r} is no load of a core, in {_brief(line)!r}")
    mhz = found.group(2)
    return Core(percent=_percent(found.group(1), line), mhz=int(mhz) if mhz else None)


def _percent(text: str, line: str) -> int:
    if int(text) > 100:
        raise ResultError(f"{text} % are more than all, in {_brief(line)!r}")
    return int(text)


def _clocks(gpu: re.Match[str]) -> list[str]:
    return [mhz for mhz in (gpu.group(2) or gpu.group(3) or "").split(",") if mhz]


def _brief(line: str) -> str:
    return line.strip()[:60]
