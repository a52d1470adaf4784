"""What every test may use."""

from __future__ import annotations

import os
import signal

# Tests run two at a time on small machines; libraries must not each take every core.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure() -> None:
    """Let Ctrl-C reach the commands that tests start, also where this run is in the background.

    A shell makes background jobs ignore SIGINT, and their children inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
