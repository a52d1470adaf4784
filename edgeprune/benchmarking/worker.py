"""The process that measures: ``python -m edgeprune.benchmarking.worker``.

One JSON document per line, a request on stdin and a reply on stdout. Requests: ``load`` (a job),
``round`` (seconds of timed calls after seconds of calls that are not recorded, and whether threads
come to rest afterwards), ``transfers`` (for seconds each), ``memory``, and ``profile`` (a job,
which need not be loaded; a directory).
The end of stdin ends the process. What libraries print goes to stderr.

It imports its runtime and nothing else that is heavy, since its memory is part of the result.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from edgeprune.benchmarking import energy, memory, run_queue, runtimes
from edgeprune.benchmarking.energy.base import Reading
from edgeprune.benchmarking.runtimes.base import Job, Session, Transferring
from edgeprune.errors import EdgepruneError

# Thread pools spin for a while after a call (ONNX Runtime: 45 ms here, over a second elsewhere),
# which would disturb the round of the next process. So a round ends when this process has come
# to rest: when no thread but this one was on a core, or wanted one, in so many looks in a row.
IDLE_LOOKS = 3
IDLE_POLL_S = 0.001
IDLE_LIMIT_S = 3.0
# Where the kernel does not tell the state of threads, by the time that they use, which it books in
# ticks of up to 10 ms.
IDLE_WINDOW_S = 0.02
IDLE_SHARE = 0.1

# Profiled calls: for so long, after some that do not count. A profile grows by the call, so
# there are not more than so many.
PROFILE_S = 1.0
PROFILE_WARMUP_S = 0.1
MAX_PROFILED_CALLS = 300


def timed_calls(
    call: Callable[[], object],
    seconds: float,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> list[int]:
    """Call until ``seconds`` have passed, at least once; return each call's nanoseconds."""
    samples = []
    start = clock()
    deadline = start + int(seconds * 1e9)
    while True:
        start = clock()
        call()
        end = clock()
        samples.append(end - start)
        if end >= deadline:
            return samples


def paced_calls(
    call: Callable[[], None],
    seconds: float,
    period_s: float,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[list[int], int]:
    """Call every ``period_s``, the first time after one; return nanoseconds and dropped requests.

    A request that comes while the one before still runs is dropped, as a camera's frame would be.
    There is one call at least, however short the period is.
    """
    samples, dropped = [], 0
    start = clock()
    last = max(1, round(seconds / period_s))
    request = 1
    while request <= last:
        sleep(max(0, start + int(request * period_s * 1e9) - clock()) / 1e9)
        began = clock()
        call()
        end = clock()
        samples.append(end - began)
        following = max(request + 1, math.ceil((end - start) / (period_s * 1e9)))
        dropped += min(following, last + 1) - request - 1
        request = following
    return samples, dropped


def wait_until_idle(limit_s: float = IDLE_LIMIT_S) -> bool:
    """Sleep until no thread of this process computes any more; False if one still does."""
    deadline = time.monotonic() + limit_s
    idle = 0
    while idle < IDLE_LOOKS:
        if time.monotonic() > deadline:
            return False
        time.sleep(IDLE_POLL_S)
        running = run_queue.other_threads_running()
        if running is None:
            return _wait_by_time_used(deadline)
        idle = 0 if running else idle + 1
    return True


def _wait_by_time_used(deadline: float) -> bool:
    while time.monotonic() < deadline:
        used, start = time.process_time(), time.perf_counter()
        time.sleep(IDLE_WINDOW_S)
        if time.process_time() - used < IDLE_SHARE * (time.perf_counter() - start):
            return True
    return False


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer requests until there are no more, or one fails in a way that a person should read."""
    session: Session | None = None
    job: Job | None = None
    meter: Callable[[], Reading] | None = None
    for line in requests:
        request = json.loads(line)
        try:
            if request["request"] == "load":
                job = Job(**request["job"])
                meter = energy.reader(job.energy)
                session = _load(job)
                reply: dict[str, Any] = dataclasses.asdict(session.loaded)
            elif request["request"] == "profile":
                reply = _profile(Job(**request["job"]), Path(request["scratch"]))
            elif session is None or job is None:
                raise ValueError(f"{request['request']!r} before 'load'")
            elif request["request"] == "round":
                reply = _round(session, job, meter, request)
            elif request["request"] == "transfers":
                reply = _transfers(session, request["seconds"])
            else:
                reply = {
                    "peak_rss_bytes": memory.peak_rss_bytes(),
                    "device_peak_bytes": session.device_peak_bytes(),
                }
        except EdgepruneError as error:
            reply = {"error": type(error).__name__, "message": str(error), "hint": error.hint}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _load(job: Job) -> Session:
    session = runtimes.get(job.runtime).load(job)
    gc.collect()
    gc.freeze()
    wait_until_idle()
    return session


def _round(
    session: Session,
    job: Job,
    meter: Callable[[], Reading] | None,
    request: dict[str, Any],
) -> dict[str, Any]:
    seconds, lead_in_s = request["seconds"], request["lead_in_s"]
    dropped, lead_in = 0, 0
    gc.disable()
    try:
        if job.period_s is None and lead_in_s > 0:
            lead_in = len(timed_calls(session.run, lead_in_s))
        before = run_queue.thread_times()
        first = meter() if meter else None
        if job.period_s is None:
            samples = timed_calls(session.run, seconds)
        else:
            samples, dropped = paced_calls(session.run, seconds, job.period_s)
        last = meter() if meter else None
        ran_and_waited = run_queue.between(before, run_queue.thread_times())
    finally:
        gc.enable()
    ran_ns, waited_ns = ran_and_waited or (None, None)
    return {
        "samples_ns": samples,
        "lead_in": lead_in,
        "dropped": dropped,
        "idle": wait_until_idle() if request["rest"] else True,
        "ran_ns": ran_ns,
        "waited_ns": waited_ns,
        "energy": [first, last] if first is not None else None,
    }


def _transfers(session: Session, seconds: float) -> dict[str, Any]:
    """Time copies to and from the device; nothing where the session has none."""
    copies = session.transfers() if isinstance(session, Transferring) else None
    if copies is None:
        return {}
    to_device, to_host = copies
    for copy in copies:
        copy()
    return {
        "to_device_ns": timed_calls(to_device, seconds),
        "to_host_ns": timed_calls(to_host, seconds),
    }


def _profile(job: Job, scratch: Path) -> dict[str, Any]:
    """Run a model with its runtime's profiler on."""
    session = runtimes.get_profiling(job.runtime).profiled(job, scratch)
    first = timed_calls(session.run, PROFILE_WARMUP_S)
    timed_calls(session.run, min(PROFILE_S, MAX_PROFILED_CALLS * min(first) / 1e9))
    return dataclasses.asdict(session.read(skip=len(first)))


def main() -> None:
    """Serve the parent on stdin and stdout; Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Keep the reply channel to ourselves: file descriptor 1, where C libraries print, becomes
    # stderr.
    channel = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(channel, "w", encoding="utf-8") as replies:
        try:
            serve(sys.stdin, replies)
        except BrokenPipeError:
            # The parent has gone. Point the buffer elsewhere, so that closing it is no error.
            os.dup2(os.open(os.devnull, os.O_WRONLY), channel)


if __name__ == "__main__":
    main()
