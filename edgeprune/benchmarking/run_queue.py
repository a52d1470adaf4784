"""Whether the threads of a process run, how long they did, and how long they waited for a core.

The kernel counts both times for every thread (``/proc/PID/task/TID/schedstat``: nanoseconds on a
core, nanoseconds on the run queue, time slices). A thread that sleeps or waits for another one adds
to neither, so that waiting means that something else had the core.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

# A process that wanted a core and waited for one for more than this share of the time was starved:
# its latencies are those of the machine's load.
STARVED_SHARE = 0.1

# By thread: nanoseconds on a core, nanoseconds waiting.
Times = dict[str, tuple[int, int]]


def thread_times(process: Path = Path("/proc/self")) -> Times:
    """Return the times of every thread so far; empty where the kernel does not count them."""
    found: Times = {}
    try:
        threads = list((process / "task").iterdir())
    except OSError:
        return found
    for thread in threads:
        try:
            ran, waited = (thread / "schedstat").read_text(encoding="ascii").split()[:2]
        except (OSError, ValueError):
            continue  # it has ended, or there is no such file
        found[thread.name] = int(ran), int(waited)
    return found


def between(before: Times, after: Times) -> tuple[int, int] | None:
    """Return for how many ns all threads ran and waited; None if they were not counted."""
    ran = waited = 0
    for name, (ran_ns, waited_ns) in after.items():
        ran_before, waited_before = before.get(name, (0, 0))
        ran += ran_ns - ran_before
        waited += waited_ns - waited_before
    return (ran, waited) if ran > 0 else None


def other_threads_running(process: Path = Path("/proc/self")) -> bool | None:
    """Tell whether a thread beside this one is on a core or waits for one; None if not told."""
    this = str(threading.get_native_id())
    states = []
    try:
        for thread in (process / "task").iterdir():
            if thread.name != this:
                with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                    states.append(_state(thread))
    except OSError:
        return None
    return "R" in states


def _state(thread: Path) -> str:
    # The name stands before it in brackets, and may hold any character.
    return (thread / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2][1]


def waiting_share(ran_ns: int, waited_ns: int) -> float | None:
    """Return which share of the time that a core was wanted was spent waiting for one."""
    wanted = ran_ns + waited_ns
    return waited_ns / wanted if wanted else None


def starved(share: float | None) -> bool:
    """Tell whether a process had to wait for too long; where it is not known, it had not."""
    return share is not None and share > STARVED_SHARE
