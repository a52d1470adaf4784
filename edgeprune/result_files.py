"""Reading result files that anyone may have written: no figure is taken on trust."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from edgeprune.errors import EdgepruneError, ResultError
from edgeprune.schema import BenchResult, Document, read_document

D = TypeVar("D", bound=Document)


def read_bench(path: Path) -> BenchResult:
    """Read a bench result.

    Raises:
        ResultError: if it is missing, damaged or of another schema, or if a latency or a speed-up
            is not above 0.
    """
    result = read_finite(path, BenchResult, ResultError)
    for index, measurement in enumerate(result.measurements):
        p50 = measurement.latency_ms.p50
        check_positive(path, f"measurements.{index}.latency_ms.p50", p50, ResultError)
    for index, comparison in enumerate(result.comparisons):
        check_positive(path, f"comparisons.{index}.speedup", comparison.speedup, ResultError)
    return result


def read_finite(path: Path, kind: type[D], error: type[EdgepruneError]) -> D:
    """Read a document in which every number is finite.

    Raises:
        error: naming the first number that is not, or as :func:`edgeprune.schema.read_document`.
    """
    try:
        document = read_document(path, kind, error)
    except OSError as problem:
        raise error(f"{str(path)!r} cannot be read: {problem.strerror}") from None
    except RecursionError:
        raise error(f"{str(path)!r} is damaged: it is nested too deeply") from None
    for where, number in _numbers(document.model_dump(), ""):
        if not math.isfinite(number):
            raise error(
                f"{str(path)!r} is damaged: {where} is {number}; a finite number was expected"
            )
    return document


def check_positive(path: Path, where: str, number: float, error: type[EdgepruneError]) -> None:
    """Raise ``error`` if ``number``, which stands at ``where`` in the file, is not above 0."""
    if number <= 0:
        raise error(f"{str(path)!r} is damaged: {where} is {number}; it must be above 0")


def _numbers(value: Any, where: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield where, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{where}.{index}")
