"""What the control group of this process allows, in cgroup v2 and v1, and how it was throttled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edgeprune.environment import read_line

# Version 1 writes "no limit" as the largest multiple of a page.
UNLIMITED_BYTES = 1 << 60


def cpu_limit(root: Path = Path("/")) -> float | None:
    """Return the cores' worth of time that is allowed, None if there is no limit.

    The smallest of the group's own limit and those above it counts.
    """
    found = [_cores(group) for group in _groups(root, "cpu")]
    return min((cores for cores in found if cores is not None), default=None)


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """Return how much memory is allowed, None if there is no limit."""
    found = []
    for group in _groups(root, "memory"):
        text = read_line(group / "memory.max") or read_line(group / "memory.limit_in_bytes") or ""
        if text.isdigit() and int(text) < UNLIMITED_BYTES:
            found.append(int(text))
    return min(found, default=None)


def throttled_s(root: Path = Path("/")) -> float | None:
    """Return for how many seconds the limit has stopped the group so far; None if not told."""
    for group in _groups(root, "cpu"):
        stat = dict(_pairs(group / "cpu.stat"))
        if "throttled_usec" in stat:
            return stat["throttled_usec"] / 1e6
        if "throttled_time" in stat:
            return stat["throttled_time"] / 1e9
    return None


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the directories of the process's group and of those above it, the own one first."""
    mounts = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = ["0::/", f"1:{controller}:/"]
    for line in lines:
        _, names, place = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        base = mounts / (controller if names else "")
        path = PurePosixPath(place)
        for part in (path, *path.parents):
            group = base / str(part).lstrip("/")
            if group.is_dir():
                yield group


def _cores(group: Path) -> float | None:
    unified = read_line(group / "cpu.max")
    if unified is not None:
        quota, _, period = unified.partition(" ")
    else:
        quota = read_line(group / "cpu.cfs_quota_us") or ""
        period = read_line(group / "cpu.cfs_period_us") or ""
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return int(quota) / int(period)


def _pairs(path: Path) -> Iterator[tuple[str, int]]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        name, _, value = line.partition(" ")
        if value.isdigit():
            yield name, int(value)
