"""RAPL: counters of the CPU's packages and of their memory (Intel and AMD, Linux powercap)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.benchmarking.energy.base import Reading
from edgeprune.environment import read_count, read_line
from edgeprune.errors import UnavailableError

DEVICES = ("cpu",)
COUNTS = "the CPU's packages and the memory that they count; other programs too"

POWERCAP = "sys/class/powercap"
# A package, or a part of one; intel-rapl-mmio shows the same packages again.
ZONE = re.compile(r"intel-rapl:\d+(:\d+)?")
UJ_PER_J = 1e6


@dataclass(frozen=True)
class RaplMeter:
    """Zones that do not overlap; a counter starts again at 0 beyond its range (uJ)."""

    paths: tuple[str, ...]
    ranges_uj: tuple[int, ...]

    @property
    def spec(self) -> dict[str, Any]:
        """The files that hold the counters."""
        return {"paths": list(self.paths)}

    def joules(self, before: Reading, after: Reading) -> float | None:
        """Return the energy of all zones; between two readings a counter starts again once."""
        used = zip(before, after, self.ranges_uj, strict=True)
        return sum((end - start) % span for start, end, span in used) / UJ_PER_J


@contextmanager
def open_meter(root: Path) -> Iterator[RaplMeter]:
    """Find the zones.

    Raises:
        UnavailableError: if there are none, or their counters cannot be read.
    """
    zones = [zone for zone in _zones(root) if _counts(zone)]
    if not zones:
        raise UnavailableError(f"there is no RAPL counter in /{POWERCAP}")
    ranges = []
    for zone in zones:
        _check_readable(zone / "energy_uj")
        span = read_count(zone / "max_energy_range_uj")
        if not span:
            raise UnavailableError(f"RAPL zone {zone.name} does not say where its counter ends")
        ranges.append(span)
    yield RaplMeter(tuple(str(zone / "energy_uj") for zone in zones), tuple(ranges))


def reader(spec: dict[str, Any]) -> Callable[[], Reading]:
    """Return a function that reads all counters."""
    paths = [Path(path) for path in spec["paths"]]
    return lambda: [int(path.read_text(encoding="ascii")) for path in paths]


def _zones(root: Path) -> list[Path]:
    folder = root / POWERCAP
    names = sorted(folder.iterdir()) if folder.is_dir() else []
    return [zone for zone in names if ZONE.fullmatch(zone.name)]


def _counts(zone: Path) -> bool:
    """Packages count, and memory, which is no part of them; cores and graphics are parts."""
    name = read_line(zone / "name") or ""
    return name.startswith("package-") or name == "dram"


def _check_readable(counter: Path) -> None:
    try:
        int(counter.read_text(encoding="ascii"))
    except PermissionError:
        raise UnavailableError(
            f"RAPL's counters ({counter.parent.name}/energy_uj) may be read by root only"
        ) from None
    except (OSError, ValueError):
        raise UnavailableError(
            f"RAPL's counter {counter.parent.name}/energy_uj cannot be read"
        ) from None
