"""The results of a sweep in one SQLite file, which can be read while the sweep runs.

It is an index: every finished trial also lies in its own directory, from which the sweep puts
back what a kill kept from being written here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgeprune.errors import OutputError, ResultError
from edgeprune.schema import BenchResult
from edgeprune.sweeping.results import Row, State, TrialKey, TrialResult

STORE_FILE = "results.sqlite"
VERSION = 1
WAIT_S = 30.0
AGAIN = "without that file the sweep, run again, makes it anew from the directories of its trials"

_TABLES = """
CREATE TABLE IF NOT EXISTS trials (
    id TEXT PRIMARY KEY, position INTEGER NOT NULL, state TEXT NOT NULL,
    kind TEXT NOT NULL, model TEXT NOT NULL, target TEXT NOT NULL, seed INTEGER NOT NULL,
    metric TEXT, ratio REAL, budget TEXT, target_accuracy REAL, source_val_accuracy REAL,
    key TEXT NOT NULL, error TEXT, result TEXT
);
CREATE TABLE IF NOT EXISTS benches (model TEXT PRIMARY KEY, result TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Store:
    """Where the driver of a sweep writes; there is one writer at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _explained(path, OutputError):
            self._connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                self._connection.close()
                raise OutputError(
                    f"{str(path)!r} has version {version}; this edgeprune writes {VERSION}",
                    hint=AGAIN,
                )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            # Tables and version at once: whoever reads meanwhile sees both or neither.
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version={VERSION}; COMMIT;"
            )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def plan(self, keys: Iterable[tuple[str, TrialKey]], name: str) -> None:
        """Make the trials of the sweep, in order, the rows of the table; finished ones stay.

        Trials that the sweep no longer has are taken out; their directories are left alone.
        """
        with _explained(self._path, OutputError), self._transaction():
            known = {row[0] for row in self._connection.execute("SELECT id FROM trials")}
            wanted = list(keys)
            for gone in known - {identity for identity, _ in wanted}:
                self._connection.execute("DELETE FROM trials WHERE id = ?", (gone,))
            for position, (identity, key) in enumerate(wanted):
                if identity in known:
                    self._connection.execute(
                        "UPDATE trials SET position = ?, key = ? WHERE id = ?",
                        (position, key.model_dump_json(), identity),
                    )
                else:
                    self._insert(identity, position, key)
            self._connection.execute(
                "UPDATE trials SET state = 'waiting', error = NULL, result = NULL"
                " WHERE state != 'done'"
            )
            self._connection.execute("INSERT OR REPLACE INTO facts VALUES ('name', ?)", (name,))

    def mark(self, identity: str, state: State, error: str | None = None) -> None:
        """Say how far a trial is."""
        with _explained(self._path, OutputError):
            self._connection.execute(
                "UPDATE trials SET state = ?, error = ?, result = NULL, target_accuracy = NULL,"
                " source_val_accuracy = NULL WHERE id = ?",
                (state, error, identity),
            )

    def finish(self, result: TrialResult) -> None:
        """Put a result in."""
        with _explained(self._path, OutputError):
            self._connection.execute(
                "UPDATE trials SET state = 'done', error = NULL, target_accuracy = ?,"
                " source_val_accuracy = ?, result = ? WHERE id = ?",
                (
                    result.dg.target_accuracy,
                    result.dg.source_val_accuracy,
                    result.to_json(),
                    result.id,
                ),
            )

    def add_bench(self, model: str, result: BenchResult) -> None:
        """Put the timing of a model's trials in, instead of an earlier one."""
        with _explained(self._path, OutputError):
            self._connection.execute(
                "INSERT OR REPLACE INTO benches VALUES (?, ?)", (model, result.to_json())
            )

    def done(self) -> set[str]:
        """Return the ids of the trials that are done."""
        found = self._connection.execute("SELECT id FROM trials WHERE state = 'done'")
        return {row[0] for row in found}

    def _insert(self, identity: str, position: int, key: TrialKey) -> None:
        self._connection.execute(
            "INSERT INTO trials (id, position, state, kind, model, target, seed, metric, ratio,"
            " budget, key) VALUES (?, ?, 'waiting', ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                identity,
                position,
                key.kind,
                key.model,
                key.target,
                key.seed,
                key.metric,
                key.ratio,
                key.budget,
                key.model_dump_json(),
            ),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


class Results:
    """Everything in a store at one moment: the trials in their order, and the timings."""

    def __init__(self, name: str, rows: list[Row], benches: dict[str, BenchResult]) -> None:
        self.name = name
        self.rows = rows
        self.benches = benches


def read_store(path: Path) -> Results:
    """Read a store, also while a sweep writes into it.

    Raises:
        ResultError: if it is missing, damaged, or of another version.
    """
    if not path.is_file():
        raise ResultError(f"{str(path)!r} does not exist")
    with _explained(path, ResultError):
        # Not read-only: a reader of a write-ahead log takes part in its locks.
        connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
        with closing(connection):
            connection.execute("BEGIN")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                return Results(path.parent.name, [], {})  # a sweep is about to make its tables
            if version != VERSION:
                raise ResultError(
                    f"{str(path)!r} has version {version}; this edgeprune reads {VERSION}"
                )
            name = connection.execute("SELECT value FROM facts WHERE name = 'name'").fetchone()
            trials = connection.execute(
                "SELECT id, key, state, error, result FROM trials ORDER BY position"
            ).fetchall()
            benches = connection.execute("SELECT model, result FROM benches").fetchall()
    try:
        return Results(
            name[0] if name else path.parent.name,
            [_row(*trial) for trial in trials],
            {model: BenchResult.model_validate_json(text) for model, text in benches},
        )
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ResultError(
            f"{str(path)!r} is damaged: {where}: {first['msg']}", hint=AGAIN
        ) from None


def _row(identity: str, key: str, state: Any, error: str | None, result: str | None) -> Row:
    return Row(
        id=identity,
        key=TrialKey.model_validate_json(key),
        state=state,
        error=error,
        result=TrialResult.model_validate_json(result) if result else None,
    )


@contextmanager
def _explained(path: Path, error: type[OutputError] | type[ResultError]) -> Iterator[None]:
    """Turn what SQLite says into a sentence."""
    try:
        yield
    except sqlite3.Error as problem:
        damaged = type(problem) is sqlite3.DatabaseError  # its subclasses say something else
        raise error(f"{str(path)!r}: {problem}", hint=AGAIN if damaged else None) from problem
