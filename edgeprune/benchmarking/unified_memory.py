"""Memory that the CPU and the GPU share, as on a Jetson: what a model takes of the whole board's.

No driver tells there what a process holds on the GPU, and its resident set leaves that out. The
kernel tells how much is left for all (``MemAvailable``), so this looks while nothing is timed.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from types import TracebackType

INTERVAL_S = 0.02
KIB = 1024


class RamWatch:
    """Looks at the board's memory for the length of a block.

    Around what starts, loads and runs a model it tells what that took: process, runtime, weights
    and activations together, and whatever other programs took meanwhile.
    """

    def __init__(self, root: Path = Path("/"), interval_s: float = INTERVAL_S) -> None:
        self._root = root
        self._interval_s = interval_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._before: int | None = None
        self._most: int | None = None

    def __enter__(self) -> RamWatch:
        self._before = self._most = used_bytes(self._root)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._note()

    @property
    def grown_bytes(self) -> int | None:
        """The most that was in use during the block beyond what was before it.

        None if the system does not say, or nothing was seen to grow.
        """
        if self._before is None or self._most is None:
            return None
        return self._most - self._before or None

    def _look(self) -> None:
        while not self._over.wait(self._interval_s):
            self._note()

    def _note(self) -> None:
        used = used_bytes(self._root)
        if used is not None and self._most is not None:
            self._most = max(self._most, used)


def used_bytes(root: Path = Path("/")) -> int | None:
    """Return how much memory is not available to programs any more; None if it is not told."""
    try:
        text = (root / "proc/meminfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    told = dict(re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB$", text, re.MULTILINE))
    if len(told) != 2:
        return None
    return (int(told["MemTotal"]) - int(told["MemAvailable"])) * KIB
