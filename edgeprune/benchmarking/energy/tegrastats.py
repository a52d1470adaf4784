"""tegrastats: the power rails of a Jetson, sampled by NVIDIA's own program.

It writes a log; a reading is how long that is and what time it is. Between two readings the mean
of the samples counts for the whole time.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgeprune.benchmarking.energy.base import Reading
from edgeprune.errors import ResultError, UnavailableError

DEVICES = ("cpu", "cuda")
COUNTS = "the whole board by its power rails; other programs too"
PROGRAM = "tegrastats"
INTERVAL_MS = 50
START_S, POLL_S, END_S = 15.0, 0.05, 5.0


@dataclass(frozen=True)
class RailMeter:
    """The log that tegrastats writes."""

    log: Path

    @property
    def spec(self) -> dict[str, Any]:
        """Where the log is."""
        return {"log": str(self.log)}

    def joules(self, before: Reading, after: Reading) -> float | None:
        """Return mean power times duration; None without a sample in between."""
        from edgeprune.benchmarking.tegrastats import parse_log

        (start, start_ns), (end, end_ns) = before, after
        with self.log.open("rb") as log:
            log.seek(start)
            text = log.read(end - start).decode(errors="replace")
        try:
            # What was half written at the first reading is no line of this interval.
            samples = parse_log(text.partition("\n")[2] if not self._starts(start) else text)
        except ResultError:
            return None
        known = [sample.board_mw for sample in samples if sample.board_mw is not None]
        if not known:
            return None
        return sum(known) / len(known) / 1000 * (end_ns - start_ns) / 1e9

    def summary(self) -> dict[str, Any] | None:
        """Return what tegrastats has said of the board so far; None if it has said nothing."""
        from edgeprune.benchmarking import tegrastats

        samples = tegrastats.readable(self.log.read_text(encoding="utf-8", errors="replace"))
        return tegrastats.summary(samples)

    def _starts(self, at: int) -> bool:
        """Tell whether a line starts at this byte of the log."""
        if at == 0:
            return True
        with self.log.open("rb") as log:
            log.seek(at - 1)
            return log.read(1) == b"\n"


@contextmanager
def open_meter(root: Path) -> Iterator[RailMeter]:
    """Run tegrastats for the length of the block.

    Raises:
        UnavailableError: if it is not there, or does not name the rails of this board.
    """
    from edgeprune.machine import find_board

    program = shutil.which(PROGRAM)
    if program is None:
        why = "Jetson Linux has it" if find_board(root) else "this is no Jetson"
        raise UnavailableError(f"there is no {PROGRAM} here: {why}")
    with TemporaryDirectory(prefix="edgeprune-tegrastats-") as folder:
        log = Path(folder) / "log"
        process = subprocess.Popen(
            [program, "--interval", str(INTERVAL_MS), "--logfile", str(log)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for_power(log)
            yield RailMeter(log)
        finally:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def reader(spec: dict[str, Any]) -> Callable[[], Reading]:
    """Return a function that says how long the log is, and when (ns)."""
    log = Path(spec["log"])
    return lambda: [log.stat().st_size, time.monotonic_ns()]


def _wait_for_power(log: Path) -> None:
    from edgeprune.benchmarking.tegrastats import parse_log

    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        try:
            samples = parse_log(log.read_text(encoding="utf-8", errors="replace"))
        except (OSError, ResultError):
            continue
        if samples[-1].board_mw is None:
            raise UnavailableError(f"{PROGRAM} does not tell what this board draws")
        return
    raise UnavailableError(f"{PROGRAM} wrote nothing within {START_S:g} s")
