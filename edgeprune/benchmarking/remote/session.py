"""One run on a far machine: a private folder there, which is gone when the ``with`` block ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from edgeprune.benchmarking.remote.connection import (
    Connection,
    ConnectionLostError,
    far_error,
    reconnect,
)
from edgeprune.benchmarking.remote.login import Login
from edgeprune.errors import EdgepruneError, UnavailableError
from edgeprune.progress import Progress

T = TypeVar("T")
PERCENT = 100


@dataclass(frozen=True)
class Limits:
    """Seconds: for getting a lost connection back, and until the far side gives us up.

    The second is the longer one: what is still being measured must not be removed meanwhile.
    """

    reconnect_s: float = 120.0
    lease_s: float = 240.0


class Session:
    """A connection, the folder behind it, and what happens when the connection is lost."""

    def __init__(self, login: Login, progress: Progress, limits: Limits) -> None:
        self._login = login
        self._progress = progress
        self._limits = limits
        self.facts: dict[str, Any] = {}
        self.left: list[str] = []
        self._folder: str | None = None

    def __enter__(self) -> Session:
        """Connect and ask what is there. Raises UnavailableError."""
        self._progress.say(f"connecting to {self._login.host}")
        self._connection = Connection(self._login)
        try:
            found = self._connection.ask("facts")
        except BaseException:
            self._connection.close()
            raise
        self.facts, self.left = found["facts"], found["left"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._end()
        except EdgepruneError as problem:
            where = self._folder or "a folder"
            self._progress.say(
                f"warning: {where} on {self._login.host} could not be removed now ({problem});"
                f" it removes itself after {self._limits.lease_s:g} s"
            )
        finally:
            self._connection.close()

    @property
    def host(self) -> str:
        """The host as the user names it."""
        return self._login.host

    def open(self) -> None:
        """Make the private folder. Raises DiskFullError, OutputError, UnavailableError."""
        self._folder = ""  # there may be one from here on
        self._folder = self._connection.ask("open", lease_s=self._limits.lease_s)["folder"]

    def send(self, path: Path, folder: str, name: str) -> None:
        """Copy a file into the private folder. Raises DiskFullError, UnavailableError."""
        self._persist(lambda: self._connection.send_file(path, folder, name))

    def measure(self, job: dict[str, Any]) -> dict[str, Any]:
        """Hand the job over, wait, and return the one document that comes back.

        Raises:
            EdgepruneError: what went wrong there.
            UnavailableError: if a lost connection does not come back in time.
        """
        found: dict[str, Any] = {}
        percents = self._percents(job, found)
        for _ in self._progress.track(percents, f"measure on {self._login.host}", total=PERCENT):
            pass
        if "error" in found:
            raise far_error(self._login.host, found)
        return found

    def _percents(self, job: dict[str, Any], found: dict[str, Any]) -> Iterator[int]:
        """Yield once per percent that is done; put the result into ``found``."""
        self._persist(lambda: self._connection.ask("measure", job=job))
        told = 0
        while True:
            event = self._persist(self._connection_event(job))
            if event["event"] == "result":
                found.update(event["result"])
                return
            done = min(PERCENT, int(PERCENT * event["done"]))
            yield from range(told, done)
            told = max(told, done)

    def _connection_event(self, job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
        before = self._connection

        def wait() -> dict[str, Any]:
            if self._connection is not before:  # a new one has to be told to report
                self._connection.ask("measure", job=job)
            return self._connection.event()

        return wait

    def _persist(self, action: Callable[[], T]) -> T:
        """Do something that may be done again; on a lost connection, connect and do it again."""
        while True:
            try:
                if not self._connection.usable:
                    self._attach()
                return action()
            except ConnectionLostError as lost:
                self._progress.say(f"{lost}; connecting again")
                self._connection.close()

    def _attach(self) -> None:
        try:
            self._connection = reconnect(self._login, self._limits.reconnect_s)
        except UnavailableError as error:
            raise UnavailableError(
                f"the connection was lost and did not come back within"
                f" {self._limits.reconnect_s:g} s: {error}",
                hint=f"what runs there ends by itself after {self._limits.lease_s:g} s",
            ) from error
        self._connection.ask("attach", folder=self._folder)

    def _end(self) -> None:
        """Remove the folder, on a new connection if the old one is of no more use."""
        if self._folder is None:
            return
        if self._connection.usable:
            with contextlib.suppress(ConnectionLostError):
                self._connection.ask("end")
                return
        self._connection.close()
        if self._folder:
            self._connection = Connection(self._login)
            self._connection.ask("end", folder=self._folder)
