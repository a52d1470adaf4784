"""A worker process: trials come in line by line, outcomes go out the same way."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import IO

from edgeprune.sweeping.executor import attempt, get_ready

PARENT_CHECK_S = 1.0


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Do trials, one a line, until there are no more lines."""
    site = requests.readline().decode()
    get_ready(site)
    for line in iter(requests.readline, b""):
        reply = attempt(line.decode(), site)
        replies.write(reply.encode() + b"\n")
        replies.flush()


def main(parent: int) -> None:
    """Run a worker: its real stdout is kept for replies, what libraries print is a log's.

    ``parent`` is the process that started it, which may have ended by now.
    """
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, replies)


def _end_with(parent: int) -> None:
    """End this process once the sweep that started it is gone, whatever it is at."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _stop(number: int, frame: FrameType | None) -> None:
    # An exception, so that fine-tuning keeps its state.
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main(int(sys.argv[1]))
