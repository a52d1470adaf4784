"""A worker process: trials come in line by line, outcomes go out the same way."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import IO

from edgeprune.sweeping.executor import attempt


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Do trials, one a line, until there are no more lines."""
    site = requests.readline().decode()
    for line in iter(requests.readline, b""):
        reply = attempt(line.decode(), site)
        replies.write(reply.encode() + b"\n")
        replies.flush()


def main() -> None:
    """Run a worker: its real stdout is kept for replies, what libraries print is a log's."""
    signal.signal(signal.SIGTERM, _stop)
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, replies)


def _stop(number: int, frame: FrameType | None) -> None:
    # An exception, so that fine-tuning keeps its state.
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
