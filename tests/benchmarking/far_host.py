"""A real sshd on 127.0.0.1 with keys of its own, for the tests of ``bench --host``."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

SSHD = shutil.which("sshd", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"]))
MISSING = [name for name, place in (("sshd", SSHD), ("ssh", shutil.which("ssh"))) if place is None]
needs_sshd = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


class FarHost:
    """The alias ``board`` of ``config`` leads here; ``scratch`` is TMPDIR of its sessions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config"
        self.known_hosts = folder / "known_hosts"
        self.scratch = folder / "far"
        self.bin = folder / "bin"
        for made in (self.scratch, self.bin):
            made.mkdir(parents=True)
        self.port = _free_port()
        self.environment = {"TMPDIR": str(self.scratch), "PATH": f"{self.bin}:{os.environ['PATH']}"}
        for name in ("host_key", "user_key", "other_key"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        public = (folder / "host_key.pub").read_text()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}")
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        self.write_config("user_key")
        self._process: subprocess.Popen[bytes] | None = None

    def write_config(self, key: str, **more: str) -> None:
        """Write the ssh configuration that tests hand to ``--ssh-config``."""
        options = {
            "HostName": "127.0.0.1",
            "Port": str(self.port),
            "User": getpass.getuser(),
            "IdentityFile": str(self.folder / key),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            **more,
        }
        lines = [f"  {name} {value}" for name, value in options.items()]
        self.config.write_text("\n".join(["Host board", *lines, ""]))

    def start(self) -> None:
        """Start sshd and wait until it listens."""
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        settings = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.folder / 'host_key'}",
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}",
            "UsePAM no",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PidFile none",
            "SetEnv " + " ".join(f"{name}={value}" for name, value in self.environment.items()),
        ]
        (self.folder / "sshd_config").write_text("\n".join([*settings, ""]))
        self._process = subprocess.Popen(
            [str(SSHD), "-D", "-e", "-f", str(self.folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stderr=(self.folder / "sshd.log").open("ab"),
        )
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            assert self._process.poll() is None, (self.folder / "sshd.log").read_text()
            time.sleep(0.05)
        pytest.fail("sshd does not listen")

    def drop(self) -> int:
        """Kill the processes of all connections, as a network that goes away; return how many."""
        assert self._process is not None
        sessions = psutil.Process(self._process.pid).children()
        for session in sessions:
            with contextlib.suppress(psutil.NoSuchProcess):  # it may end by itself
                for process in (*session.children(), session):
                    if process.name().startswith("sshd"):
                        process.kill()
        return len(sessions)

    def stop(self) -> None:
        """End sshd and all connections."""
        if self._process is not None:
            self.drop()
            self._process.kill()
            self._process.wait()
            self._process = None

    def left(self) -> list[str]:
        """Return what lies in the scratch folder and runs on it."""
        files = [path.name for path in self.scratch.iterdir()]
        running = [
            " ".join(process.info["cmdline"])
            for process in psutil.process_iter(["cmdline"])
            if str(self.scratch) in str(process.info["cmdline"])
        ]
        return files + running

    def wait_until_clean(self, seconds: float = 20.0) -> list[str]:
        """Return what is still left after so long; nothing as soon as there is nothing."""
        deadline = time.monotonic() + seconds
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.left()

    def command(self, name: str, text: str) -> Path:
        """Put a shell script on the PATH of the sessions."""
        path = self.bin / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return path

    @property
    def python(self) -> str:
        """A Python there that has ONNX Runtime."""
        return sys.executable


@contextlib.contextmanager
def far_host(folder: Path) -> Iterator[FarHost]:
    host = FarHost(folder)
    host.start()
    try:
        yield host
    finally:
        host.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
