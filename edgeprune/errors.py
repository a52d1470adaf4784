"""Every error that a person is meant to read.

Each carries the exit code of the command line: 1 a check did not hold, 2 bad usage or
bad input, 3 something that was asked for is not available on this machine.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TypeVar

Name = TypeVar("Name", bound=str)


class EdgepruneError(Exception):
    """One sentence for a person, and at most one hint."""

    exit_code = 2

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(EdgepruneError):
    """An option has a value that is not accepted, or two options contradict each other."""


class ModelError(EdgepruneError):
    """A model name is unknown, unsupported, or its weights do not fit."""


class ArtifactError(EdgepruneError):
    """An artifact directory is missing, damaged, or of a schema that this version cannot read."""


class DataError(EdgepruneError):
    """A data set is missing, incomplete, or holds an image that cannot be read."""


class OutputError(EdgepruneError):
    """The output path cannot be written."""


class DiskFullError(OutputError):
    """There is no space left where the output is to be written."""


class EngineError(EdgepruneError):
    """TensorRT refuses a graph or builds nothing of it, or an engine file is not sound."""


class PlanError(EdgepruneError):
    """A pruning plan cannot be met, or does not fit the model."""


class ResultError(EdgepruneError):
    """A result file is missing, damaged, or of another schema."""


class CheckError(EdgepruneError):
    """A check did not hold: parity, accuracy floor, latency regression."""

    exit_code = 1


class UnavailableError(EdgepruneError):
    """A device, driver, runtime or extra that was asked for is not available here."""

    exit_code = 3


class PeerError(UnavailableError):
    """Another process of the same run has ended."""


def one_of(value: str, what: str, accepted: Iterable[Name]) -> Name:
    """Return ``value`` if it is accepted.

    Raises:
        UsageError: naming ``value`` and what would be accepted, the nearest first.
    """
    names = list(accepted)
    for name in names:
        if name == value:
            return name
    raise UsageError(
        f"unknown {what} {value!r}; accepted: {', '.join(names)}", hint=nearest(value, names)
    )


def nearest(value: str, accepted: Iterable[str]) -> str | None:
    """Return a hint that names the accepted value nearest to ``value``; None if none is near."""
    near = difflib.get_close_matches(value, list(accepted), n=1)
    return f"did you mean {near[0]!r}?" if near else None
