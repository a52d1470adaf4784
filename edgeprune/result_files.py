"""Reading result files that anyone may have written: no figure is taken on trust."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from edgeprune.errors import EdgepruneError, ResultError
from edgeprune.schema import BenchResult, DGResult, Document, Latency, Measurement, read_document

D = TypeVar("D", bound=Document)

# Percentiles of equal calls are interpolated, and may differ in their last digits.
ROUNDING = 1e-9


def read_bench(path: Path) -> BenchResult:
    """Read a bench result.

    Raises:
        ResultError: if it is missing, damaged or of another schema, or if a figure that can only be
            above 0 is not, percentiles do not ascend, or an interval ends below its start.
    """
    result = read_finite(path, BenchResult, ResultError)
    for index, row in enumerate(result.measurements):
        figures: dict[str, Any] = {
            "batch": row.batch,
            "threads": row.threads,
            "samples": 1 if row.estimated else row.samples,
            "throughput_ips": row.throughput_ips,
            **{f"memory_mb.{name}": value for name, value in row.memory_mb},
            **{f"latency_ms.{name}": value for name, value in row.latency_ms if name != "std"},
        }
        figures["latency_ms.ci95"] = min(row.latency_ms.ci95)
        figures |= _layer_times(row)
        for name, value in figures.items():
            if value is not None:
                check_positive(path, f"measurements.{index}.{name}", value, ResultError)
        _check_percentiles(path, f"measurements.{index}.latency_ms", row.latency_ms)
    for index, comparison in enumerate(result.comparisons):
        check_positive(path, f"comparisons.{index}.speedup", comparison.speedup, ResultError)
        check_interval(path, f"comparisons.{index}.ci95", comparison.ci95, ResultError)
    return result


def _check_percentiles(path: Path, where: str, times: Latency) -> None:
    names = ("min", "p50", "p90", "p95", "p99")
    known = [(name, getattr(times, name)) for name in names if getattr(times, name) is not None]
    for (lower, least), (upper, found) in pairwise(known):
        if found < least * (1 - ROUNDING):
            raise ResultError(
                f"{str(path)!r} is damaged: {where}.{upper} is {found}; it must not be below"
                f" {lower}, {least}"
            )
    check_interval(path, f"{where}.ci95", times.ci95, ResultError)


def _layer_times(row: Measurement) -> dict[str, float]:
    """Return what all layers take, and what a single one takes if it is less than nothing."""
    measured = row.per_layer.layers if row.per_layer else []
    columns = {
        "per_layer.layers": [layer.latency_ms for layer in measured],
        "per_layer.layers.share": [layer.share for layer in measured],
        "layers": [layer.latency_ms for layer in row.layers or []],
    }
    found = {}
    for where, times in columns.items():
        if times:
            found[where] = min([sum(times), *(time for time in times if time < 0)])
    return found


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
    check_finite(path, document, error)
    return document


def check_finite(name: str | Path, document: Document, error: type[EdgepruneError]) -> None:
    """Raise ``error`` if a number of ``document``, read from ``name``, is not finite."""
    for where, number in _numbers(document.model_dump(), ""):
        if not math.isfinite(number):
            raise error(
                f"{str(name)!r} is damaged: {where} is {number}; a finite number was expected"
            )


def check_positive(
    name: str | Path, where: str, number: float, error: type[EdgepruneError]
) -> None:
    """Raise ``error`` if ``number``, which stands at ``where`` in ``name``, is not above 0."""
    if number <= 0:
        raise error(f"{str(name)!r} is damaged: {where} is {number}; it must be above 0")


def check_percent(name: str | Path, where: str, number: float, error: type[EdgepruneError]) -> None:
    """Raise ``error`` if ``number``, at ``where`` in ``name``, is not from 0 to 100."""
    if not 0 <= number <= 100:
        raise error(f"{str(name)!r} is damaged: {where} is {number}; it must be from 0 to 100")


def check_accuracies(path: Path, dg: DGResult, error: type[EdgepruneError]) -> None:
    """Raise ``error`` if an accuracy in a score, at ``dg`` in the file, is no percentage."""
    found: dict[str, float | None] = {
        "target_accuracy": dg.target_accuracy,
        "source_val_accuracy": dg.source_val_accuracy,
        "balanced_accuracy": dg.balanced_accuracy,
        "worst_domain.accuracy": dg.worst_domain.accuracy if dg.worst_domain else None,
        **{f"domains.{name}.accuracy": own.accuracy for name, own in dg.domains.items()},
        **{f"class_accuracy.{name}": own for name, own in (dg.class_accuracy or {}).items()},
    }
    for where, number in found.items():
        if number is not None:
            check_percent(path, f"dg.{where}", number, error)


def check_interval(
    name: str | Path, where: str, ci95: tuple[float, float], error: type[EdgepruneError]
) -> None:
    """Raise ``error`` if an interval, at ``where`` in ``name``, ends below its start."""
    low, high = ci95
    if low > high:
        raise error(
            f"{str(name)!r} is damaged: {where} is {low} to {high}; its lower end must come first"
        )


def _numbers(value: Any, where: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield where, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{where}.{index}")
