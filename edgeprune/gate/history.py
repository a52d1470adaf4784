"""The history of checks: one line of JSON for each, in a file that is only ever added to."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import ClassVar

from edgeprune.errors import OutputError, ResultError
from edgeprune.files import check_output_file, explain_os_errors, make_parent
from edgeprune.result_files import check_finite, check_interval, check_percent, check_positive
from edgeprune.schema import CheckResult, Document, Finding, parse_document

GIT_TIMEOUT_S = 10
PERCENT = "%"


class HistoryLine(Document):
    """One check: when, of which commit, on which machine, and what was found."""

    SCHEMA: ClassVar[str] = "edgeprune/history@1"

    time: str
    commit: str | None
    machine: dict[str, str | int | float | None]
    passed: bool
    findings: list[Finding]


def check_history(path: Path) -> None:
    """Check, before any work, that a check can be added to a history, which may be a new one.

    Raises:
        OutputError: if it is no file, or cannot be written.
        ResultError: if it cannot be read, or naming the line that is damaged.
    """
    check_output_file(path)
    if path.exists():
        _lines(path)
        if not os.access(path, os.W_OK):
            raise OutputError(f"no permission to write {str(path)!r}")


def append(path: Path, result: CheckResult, commit: str | None = None) -> None:
    """Add a check to a history: its whole line, or nothing.

    Args:
        path: of the file, made if absent.
        result: of the check.
        commit: what was checked; None asks the environment of the job, then git.

    Raises:
        OutputError: if the file cannot be written.
    """
    line = HistoryLine(
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=commit or current_commit(),
        machine=result.machine,
        passed=result.passed,
        findings=result.findings,
    )
    text = json.dumps(line.model_dump(mode="json", by_alias=True)) + "\n"
    check_output_file(path)
    make_parent(path)
    try:
        with explain_os_errors(path):
            _add(path, text)
    except OSError as error:
        raise OutputError(f"history {str(path)!r} cannot be written: {error.strerror}") from error


def _add(path: Path, text: str) -> None:
    """Write at the end of a file, and take back what a full disk cut off."""
    # Without a buffer, whose rest would be written when the file is closed.
    with path.open("ab", buffering=0) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        before = path.stat().st_size
        line = (text if _ends_a_line(path) else f"\n{text}").encode()
        if stream.write(line) != len(line):
            stream.truncate(before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read(path: Path) -> list[HistoryLine]:
    """Read a history, oldest first.

    Raises:
        ResultError: if the file is missing or holds nothing, or naming the line that is damaged:
            no JSON, of another schema, or with a time or figure that cannot be.
    """
    found = _lines(path)
    if not found:
        raise ResultError(f"history {str(path)!r} holds no check")
    return found


def _lines(path: Path) -> list[HistoryLine]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ResultError(f"history {str(path)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ResultError(f"history {str(path)!r} is not text") from None
    return [
        _line(raw, f"{path}, line {number}")
        for number, raw in enumerate(text.splitlines(), 1)
        if raw.strip()
    ]


def current_commit() -> str | None:
    """Return the commit that is being checked, from the environment or git; None without both."""
    for name in ("GITHUB_SHA", "CI_COMMIT_SHA"):
        if os.environ.get(name):
            return os.environ[name]
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=GIT_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None if asked.returncode == 0 else None


def _line(text: str, name: str) -> HistoryLine:
    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is not a number")

    try:
        raw = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{name!r} is not valid JSON: {error}") from None
    line = parse_document(raw, name, HistoryLine, ResultError)
    _check_time(line.time, name)
    check_finite(name, line, ResultError)
    for index, finding in enumerate(line.findings):
        _check_figures(finding, f"findings.{index}", name)
    return line


def _check_time(text: str, name: str) -> None:
    try:
        # Python 3.10 does not know the Z that other programs write for UTC.
        datetime.fromisoformat(re.sub("Z$", "+00:00", text))
    except ValueError:
        raise ResultError(
            f"{name!r} is damaged: time is {text!r}; one such as 2026-01-31T12:00:00+00:00 was"
            " expected"
        ) from None


def _check_figures(finding: Finding, where: str, name: str) -> None:
    """Check that accuracies are percent, and all else above 0; a floor under one may be below."""
    figures: dict[str, float | None] = {"baseline": finding.baseline, "current": finding.current}
    check = check_percent if finding.unit == PERCENT else check_positive
    if finding.unit != PERCENT:
        figures |= {"ratio": finding.ratio, "limit": finding.limit}
        figures["ci95"] = min(finding.ci95) if finding.ci95 else None
    for fact, value in figures.items():
        if value is not None:
            check(name, f"{where}.{fact}", value, ResultError)
    check_positive(name, f"{where}.batch", finding.batch, ResultError)
    check_positive(name, f"{where}.threads", finding.threads, ResultError)
    if finding.ci95 is not None:
        check_interval(name, f"{where}.ci95", finding.ci95, ResultError)


def _ends_a_line(path: Path) -> bool:
    """Tell whether a new line may follow; one that was cut off by a full disk has no end."""
    with path.open("rb") as stream:
        if stream.seek(0, os.SEEK_END) == 0:
            return True
        stream.seek(-1, os.SEEK_END)
        return stream.read() == b"\n"
