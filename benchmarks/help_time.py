"""How long ``edgeprune --help`` takes, against ``python -c "import typer, rich"``.

The limit is a ratio of 2.5 (medians of interleaved runs).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.record import machine

LIMIT = 2.5
ROUNDS = 30
WARMUP = 3
COMMANDS = {
    "help": [sys.executable, "-m", "edgeprune", "--help"],
    "bare": [sys.executable, "-c", "import typer, rich"],
}


def seconds(command: list[str]) -> float:
    """Return the wall time of one run of ``command``."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def run(rounds: int = ROUNDS) -> dict[str, Any]:
    """Time both commands in turn and compare their medians."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(WARMUP + rounds):
        for name, command in COMMANDS.items():
            elapsed = seconds(command)
            if number >= WARMUP:
                times[name].append(elapsed)
    medians = {name: statistics.median(values) for name, values in times.items()}
    row = {
        "help_s": medians["help"],
        "bare_s": medians["bare"],
        "ratio": medians["help"] / medians["bare"],
        "target": LIMIT,
    }
    return {"name": "start of the command line", "machine": machine(), "rows": [row]}
