"""One connection through the system's ssh, which carries JSON lines to the agent and back.

The user's keys, agent, known_hosts and configuration hold, with two exceptions: the host's key has
to be known already, and nothing is ever asked. The local command is a list of words; the remote one
is a fixed program for the far Python, quoted as a whole. Nothing else reaches a shell.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune import errors
from edgeprune.benchmarking import agent
from edgeprune.errors import ResultError, UnavailableError, UsageError

CONNECT_TIMEOUT_S = 15
ALIVE_INTERVAL_S = 10
ALIVE_COUNT = 3
BEAT_S = 5.0
GREET_TIMEOUT_S = 90.0
MOST_STDERR_BYTES = 1 << 16
# The exit code of ssh for errors of its own.
SSH_FAILED = 255
CLOSE_TIMEOUT_S = 5.0

OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": str(CONNECT_TIMEOUT_S),
    "ServerAliveInterval": str(ALIVE_INTERVAL_S),
    "ServerAliveCountMax": str(ALIVE_COUNT),
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "RemoteCommand": "none",
    # A shared connection that is open already may be used; none is made that would outlive this.
    "ControlMaster": "no",
}

# Reads the agent's text from stdin and runs it; what follows on stdin is for the agent. An empty
# entry of sys.path would import what lies in the home directory.
BOOT = (
    "import sys; sys.path = [entry for entry in sys.path if entry];"
    ' sys.version_info >= (3, 8) or sys.exit("Python %d.%d is too old: 3.8 or newer is needed"'
    " % sys.version_info[:2]);"
    " source = sys.stdin.buffer.read(int(sys.stdin.buffer.readline()));"
    ' space = {"__name__": "agent", "__file__": "agent.py"};'
    ' exec(compile(source, "agent.py", "exec"), space); space["front"](source)'
)

_USER = r"[A-Za-z0-9._][A-Za-z0-9._+-]{0,63}"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}"
_ADDRESS = r"\[(?P<address>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?)\]"
_HOST = re.compile(rf"(?:(?P<user>{_USER})@)?(?:(?P<name>{_NAME})|{_ADDRESS})(?::(?P<port>\d+))?")

# What ssh says, and what it means; the first that occurs is taken.
_REASONS = (
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key is not the one that is known"),
    (r"host key is known|Host key verification failed", "its host key is not known"),
    (r"Permission denied|Too many authentication failures", "it refuses the key"),
    (r"Could not resolve hostname", "there is no such host"),
    (r"Connection refused", "the connection is refused"),
    (r"timed out", "it does not answer"),
    (r"No route to host|Network is unreachable", "there is no route to it"),
)
_HINTS = {
    "its host key is not the one that is known": "if the machine was set up anew, remove the old"
    " key with: ssh-keygen -R HOST",
    "its host key is not known": "connect once by hand, compare the key that ssh shows, accept it",
    "it refuses the key": "ssh -o BatchMode=yes HOST has to work without a question first",
}


class ConnectionLostError(UnavailableError):
    """The connection has ended while something was expected of it."""


@dataclass(frozen=True)
class Login:
    """How to get there: ``USER@HOST[:PORT]`` or an ssh alias, the far Python, an ssh_config file.

    Raises:
        UsageError: if one of them is not accepted.
    """

    host: str
    python: str = "python3"
    ssh_config: Path | None = None

    def __post_init__(self) -> None:
        self._parts()
        if not self.python or self.python.startswith("-") or not self.python.isprintable():
            raise UsageError(f"remote-python {self.python!r} is not accepted; a command is")
        if self.ssh_config is not None and not self.ssh_config.is_file():
            raise UsageError(f"ssh-config {str(self.ssh_config)!r} does not exist")

    @property
    def name(self) -> str:
        """The host's name or address alone."""
        parts = self._parts()
        return str(parts["name"] or parts["address"])

    def command(self) -> list[str]:
        """Return the words of the local ssh command.

        Raises:
            UnavailableError: if there is no ssh here.
        """
        program = shutil.which("ssh")
        if program is None:
            raise UnavailableError("there is no ssh here", hint="install the OpenSSH client")
        parts = self._parts()
        words = [program, "-T"]
        if self.ssh_config is not None:
            words += ["-F", str(self.ssh_config)]
        for name, value in OPTIONS.items():
            words += ["-o", f"{name}={value}"]
        if parts["user"] is not None:
            words += ["-l", parts["user"]]
        if parts["port"] is not None:
            words += ["-p", parts["port"]]
        return [*words, "--", self.name, shlex.join([self.python, "-c", BOOT])]

    def _parts(self) -> dict[str, str | None]:
        found = _HOST.fullmatch(self.host)
        if found is None or not 0 < int(found["port"] or 22) < 65536:
            raise UsageError(
                f"host {self.host!r} is not accepted; USER@HOST, USER@HOST:PORT,"
                " [IPV6]:PORT or an alias of ssh's configuration is"
            )
        return found.groupdict()


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

    @property
    def pid(self) -> int:
        """Process id of ssh."""
        return self._process.pid

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


def explain(login: Login, code: int, said: str) -> UnavailableError:
    """Say why there is no agent at the other end, from ssh's exit code and its stderr."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1][:300] if lines else f"exit code {code}"
    if code != SSH_FAILED:  # then it comes from the other side
        return UnavailableError(
            f"{login.host} cannot run Python as {login.python!r}: {last}",
            hint="--remote-python names the interpreter there",
        )
    for pattern, reason in _REASONS:
        if re.search(pattern, said):
            hint = _HINTS.get(reason)
            return UnavailableError(
                f"{login.host} cannot be used: {reason} ({last})",
                hint=hint.replace("HOST", login.host) if hint else None,
            )
    return UnavailableError(f"{login.host} cannot be used: {last}")


def far_error(host: str, document: dict[str, Any]) -> errors.EdgepruneError:
    """Return the error that the agent reports, as one of ours, with the host before it."""
    kind = getattr(errors, str(document["error"]), None)
    if not (isinstance(kind, type) and issubclass(kind, errors.EdgepruneError)):
        kind = UnavailableError
    return kind(f"{host}: {document.get('message')}", hint=document.get("hint"))
