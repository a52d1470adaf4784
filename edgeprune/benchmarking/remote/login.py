"""How to get to a far machine: the words of the ssh command, and what its failures mean.

The user's keys, agent, known_hosts and configuration hold, with two exceptions: the host's key has
to be known already, and nothing is ever asked. The local command is a list of words; the remote one
is a fixed program for the far Python, quoted as a whole. Nothing else reaches a shell.
"""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from edgeprune.errors import UnavailableError, UsageError

CONNECT_TIMEOUT_S = 15
ALIVE_INTERVAL_S = 10
ALIVE_COUNT = 3
# The exit code of ssh for errors of its own.
SSH_FAILED = 255

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
