"""What every test may use."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile

# Tests run two at a time on small machines; libraries must not each take every core.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# Neither read what a person has cached nor leave anything there.
CACHE = tempfile.mkdtemp(prefix="edgeprune-tests-")
os.environ["EDGEPRUNE_CACHE"] = CACHE
os.environ.pop("EDGEPRUNE_CACHE_GB", None)


def pytest_unconfigure() -> None:
    shutil.rmtree(CACHE, ignore_errors=True)


def pytest_configure() -> None:
    """Let Ctrl-C reach the commands that tests start, also where this run is in the background.

    A shell makes background jobs ignore SIGINT, and their children inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
