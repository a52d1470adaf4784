"""One connection through the system's ssh, which carries JSON lines to the agent and back."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from edgeprune import errors
from edgeprune.benchmarking import agent
from edgeprune.benchmarking.remote.login import SSH_FAILED, Login, explain
from edgeprune.errors import ResultError, UnavailableError

BEAT_S = 5.0
GREET_TIMEOUT_S = 90.0
CLOSE_TIMEOUT_S = 5.0
MOST_STDERR_BYTES = 1 << 16


class ConnectionLostError(UnavailableError):
    """The connection has ended while something was expected of it."""


class Connection:
    """An ssh process with the agent at its other end. Ends with the ``close`` or the network."""

    def __init__(self, login: Login) -> None:
        """Connect and start the agent's front.

        Raises:
            UnavailableError: if the host cannot be reached, is not trusted or trusts not, or has
                no usable Python.
        """
        self._login = login
        command = login.command()
        # False while a file is half sent, when no request would be understood, and after the end.
        self.usable = True
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        # A session of its own: Ctrl-C is for this process, which still has to clean up there.
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
        )
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._events: deque[dict[str, Any]] = deque()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return the reply to it.

        Raises:
            ConnectionLostError: if the connection ends before.
            EdgepruneError: what the agent says is wrong.
        """
        self._send(json.dumps({"do": do, **fields}).encode() + b"\n")
        return self._reply(do)

    def send_file(self, path: Path, folder: str, name: str) -> None:
        """Copy a file into the private folder there. Raises as :meth:`ask`."""
        size, self.usable = path.stat().st_size, False
        request = {"do": "file", "folder": folder, "name": name, "bytes": size}
        self._send(json.dumps(request).encode() + b"\n")
        with path.open("rb") as stream:
            while size:
                chunk = stream.read(min(size, agent.CHUNK_BYTES))
                if not chunk:
                    raise ResultError(f"{str(path)!r} became shorter while it was copied")
                size -= len(chunk)
                self._send(chunk)
        self.usable = True
        self._reply("file")

    def event(self) -> dict[str, Any]:
        """Wait for the next event, with signs of life meanwhile. Raises ConnectionLostError."""
        while not self._events:
            try:
                message = self._message(BEAT_S)
            except queue.Empty:
                self._send(b'{"do": "beat"}\n')
                continue
            if "event" in message:
                self._events.append(message)
        return self._events.popleft()

    def close(self) -> None:
        """End ssh. The agent's front ends with it, its guard does not."""
        try:
            self._pipe(self._process.stdin).close()
            self._process.wait(CLOSE_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired):
            pass
        finally:
            self.usable = False
            self._process.kill()
            self._process.wait()
            self._stderr.close()

    def _greet(self) -> None:
        source = Path(agent.__file__).read_bytes()
        greeting = json.dumps({"agent": agent.PROTOCOL}).encode()
        try:
            stdin = self._pipe(self._process.stdin)
            stdin.write(b"%d\n" % len(source) + source)
            stdin.flush()
            # What the login's own scripts print comes before.
            while (line := self._lines.get(timeout=GREET_TIMEOUT_S)) is not None:
                if line.strip() == greeting:
                    return
        except queue.Empty:
            raise UnavailableError(
                f"{self._login.host} does not start {self._login.python!r} within"
                f" {GREET_TIMEOUT_S:g} s"
            ) from None
        except BrokenPipeError:
            pass
        raise explain(self._login, self._process.wait(), self._said())

    def _reply(self, do: str) -> dict[str, Any]:
        while True:
            message = self._message(None)
            if "event" in message:  # it may overtake the reply
                self._events.append(message)
            elif message.get("re") == do:
                if "error" in message:
                    raise far_error(self._login.host, message)
                return message

    def _message(self, timeout_s: float | None) -> dict[str, Any]:
        line = self._lines.get(timeout=timeout_s)
        if line is None:
            raise self._lost()
        try:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ValueError("no object")
        except ValueError as error:
            raise ResultError(f"{self._login.host} sent no readable reply: {error}") from None
        return message

    def _send(self, data: bytes) -> None:
        stdin = self._pipe(self._process.stdin)
        try:
            stdin.write(data)
            stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self._lost() from None

    def _lost(self) -> UnavailableError:
        """Return the error for an end of the connection: the network's, or the agent's own."""
        self.usable = False
        try:
            code = self._process.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = SSH_FAILED
        lines = self._said().splitlines()
        why = f": {lines[-1].rstrip('. ')}" if lines else ""
        if 0 <= code != SSH_FAILED:
            return UnavailableError(f"the agent on {self._login.host} failed{why}")
        return ConnectionLostError(f"the connection to {self._login.host} was lost{why}")

    def _said(self) -> str:
        # Not by seeking: ssh writes at the same offset.
        text = os.pread(self._stderr.fileno(), MOST_STDERR_BYTES, 0)
        return text.decode("utf-8", errors="replace").strip()

    def _read(self) -> None:
        for line in self._pipe(self._process.stdout):
            self._lines.put(line)
        self._lines.put(None)

    @staticmethod
    def _pipe(stream: Any) -> Any:
        if stream is None:
            raise ValueError("ssh was started without pipes")
        return stream


def reconnect(login: Login, limit_s: float) -> Connection:
    """Connect again, trying for ``limit_s``. Raises UnavailableError: what the last try met."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return Connection(login)
        except UnavailableError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(1.0)


def far_error(host: str, document: dict[str, Any]) -> errors.EdgepruneError:
    """Return the error that the agent reports, as one of ours, with the host before it."""
    kind = getattr(errors, str(document["error"]), None)
    if not (isinstance(kind, type) and issubclass(kind, errors.EdgepruneError)):
        kind = UnavailableError
    return kind(f"{host}: {document.get('message')}", hint=document.get("hint"))
