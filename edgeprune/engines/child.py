"""The process that builds: ``python -m edgeprune.engines.child``.

TensorRT prints past its logger, keeps the first logger of a process for good, needs gigabytes, and
can crash. So it gets a process of its own: one JSON request on stdin, one reply on stdout.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from typing import Any

from edgeprune import errors
from edgeprune.engines.builders.base import Built, Found, Request
from edgeprune.environment import available_cores, worker_environment

PROBE_TIMEOUT_S = 120


def probe(module: str) -> Found:
    """Return whether a TensorRT module works here. Raises UnavailableError if it does not."""
    if importlib.util.find_spec(module) is None:
        raise errors.UnavailableError(f"the Python module {module!r} is not installed")
    reply = _ask({"module": module, "do": "probe"}, timeout=PROBE_TIMEOUT_S)
    return Found(
        **{**reply, "architectures": tuple(reply["architectures"]), "options": frozenset()}
    )


def build(module: str, request: Request) -> Built:
    """Build an engine with a TensorRT module.

    Raises:
        EngineError, OutputError: see :func:`edgeprune.engines.build.build`.
        UnavailableError: if the process dies.
    """
    asked = {"module": module, "do": "build", "request": dataclasses.asdict(request)}
    return Built(**_ask(asked, timeout=None))


def _ask(asked: dict[str, Any], timeout: float | None) -> dict[str, Any]:
    try:
        child = subprocess.run(
            [sys.executable, "-m", "edgeprune.engines.child"],
            input=json.dumps(asked),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            env=worker_environment(available_cores()),
        )
    except subprocess.TimeoutExpired:
        raise errors.UnavailableError(
            f"{asked['module']} did not answer within {timeout:g} s"
        ) from None
    lines = child.stdout.strip().splitlines()
    if child.returncode != 0 or not lines:
        raise _death(asked["module"], child)
    reply: dict[str, Any] = json.loads(lines[-1])
    if "error" in reply:
        kind: type[errors.EdgepruneError] = getattr(errors, reply["error"])
        raise kind(reply["message"], hint=reply["hint"])
    return reply


def _death(module: str, child: subprocess.CompletedProcess[str]) -> errors.UnavailableError:
    code = child.returncode
    how = f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
    lines = [line.strip() for line in child.stderr.splitlines() if line.strip()]
    last = f": {lines[-1][:300]}" if lines else ""
    return errors.UnavailableError(
        f"the process that used {module} died ({how}){last}",
        hint="the machine may be out of memory" if code == -signal.SIGKILL else None,
    )


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    from edgeprune.engines import build as own

    try:
        trt = importlib.import_module(asked["module"])
    except Exception as error:  # ImportError, OSError, and what else a broken library raises
        reason = " ".join(str(error).split())[:200]
        raise errors.UnavailableError(
            f"the Python module {asked['module']!r} does not load: {reason}"
        ) from error
    if asked["do"] == "probe":
        found = own.probe(trt, asked["module"])
        return {
            "version": found.version,
            "architectures": found.architectures,
            "timing_cache": found.timing_cache,
        }
    fields = asked["request"]
    shape, batches = tuple(fields["shape"]), tuple(fields["batches"])
    request = Request(**{**fields, "shape": shape, "batches": batches})
    return dataclasses.asdict(own.build(trt, request))


def main() -> None:
    """Answer the request on stdin; what libraries print goes to stderr."""
    channel = os.dup(1)
    os.dup2(2, 1)
    asked = json.load(sys.stdin)
    try:
        reply = _answer(asked)
    except errors.EdgepruneError as error:
        reply = {"error": type(error).__name__, "message": str(error), "hint": error.hint}
    with os.fdopen(channel, "w", encoding="utf-8") as replies:
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
