"""How figures and results are put into words, alike in every format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeprune import figures
from edgeprune.reporting.document import BenchFacts, Choice, Interval, ReportModel, ReportRow
from edgeprune.schema import Measurement
from edgeprune.selection import ORACLE

# The one result in the headline is the fastest that costs at most this many points.
HEADLINE_DROP_POINTS = 5.0


def share(ratio: float) -> str:
    """Write a share of one as percent: 0.5 becomes ``50 %``."""
    return f"{100 * ratio:g} %" if abs(ratio) < 10 else f"{ratio:g}"


def short_name(model: ReportModel) -> str:
    """Name a model for a plot: ``dense``, ``50 % hessian``, or its label."""
    if model.is_dense:
        return "dense"
    if model.ratio is None:
        return model.label
    of = f" of {model.budget}" if model.budget not in (None, "channels") else ""
    return f"{share(model.ratio)}{of}{f' {model.metric}' if model.metric else ''}"


def pruning(row: ReportRow) -> str:
    """Say how a row's model was pruned: ``hessian, 50 % of channels``."""
    if row.is_dense:
        return "dense"
    if row.is_dense is None:
        return "not known"
    amount = share(row.ratio) if row.ratio is not None else None
    if amount and row.budget:
        amount = f"{amount} of {row.budget}"
    return ", ".join(part for part in (row.metric, amount) if part) or "pruned"


def count(number: float | None) -> str:
    """Shorten a count, which may not be known."""
    return "not known" if number is None else figures.count(number)


def milliseconds(value: float) -> str:
    """Write a latency with three digits: 0.123, 1.23, 12.3, 123."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"


def interval(ci95: Interval | None, digits: int) -> str:
    """Write an interval as ``2.85 to 2.97``, or nothing."""
    return f"{ci95[0]:.{digits}f} to {ci95[1]:.{digits}f}" if ci95 else ""


def points(value: float) -> str:
    """Write a difference in points with its sign, never ``-0.0``."""
    rounded = round(value, 1) + 0.0
    return f"{rounded:+.1f}" if rounded else "0.0"


def points_interval(ci95: Interval | None) -> str:
    """Write the interval of a difference as ``-5.2 to +0.3``, or nothing."""
    return f"{points(ci95[0])} to {points(ci95[1])}" if ci95 else ""


def size(number: int) -> str:
    """Write a number of bytes: 302 kB, 768 B."""
    text = figures.count(number)
    return f"{text}B" if " " in text else f"{text} B"


def memory(row: ReportRow) -> str:
    """Write the peak memory of a row's process, and of its device, in MB; nothing if unknown."""
    process = figures.significant(row.peak_rss_mb) if row.peak_rss_mb is not None else ""
    if row.device_peak_mb is None:
        return process
    device = f"{figures.significant(row.device_peak_mb)} on the device"
    return f"{process}, {device}" if process else device


def energy(row: ReportRow) -> str:
    """Write the energy of an image in mJ; nothing where it was not measured."""
    return figures.significant(row.energy_mj) if row.energy_mj is not None else ""


def setting(row: ReportRow | Measurement, machine: str = "") -> str:
    """Say how a row was measured: ``onnxruntime on cpu, fp32, batch 1, 1 thread``.

    ``machine`` is named at the end, if it is not empty.
    """
    if row.runtime is None:
        return "not measured"
    how = "estimated: " if row.estimated else ""
    text = f"{how}{row.runtime} on {row.device}, {row.precision}, {_batch(row)}, {_threads(row)}"
    return f"{text}, {machine}" if machine else text


def machine_name(environment: dict[str, Any]) -> str:
    """Name the machine of a bench result by its board, else its CPU; "" where neither is known."""
    for fact in (environment.get("board"), environment.get("cpu")):
        name = fact.get("name") if isinstance(fact, dict) else fact
        if isinstance(name, str) and name:
            return name
    return ""


def machines(rows: Sequence[ReportRow], benches: Sequence[BenchFacts]) -> list[str]:
    """Name the machine of each row; "" if there is but one, or it is not known."""
    names = {bench.path: machine_name(bench.environment) for bench in benches}
    found = [names.get(row.bench or "", "") for row in rows]
    return found if len({*found} - {""}) > 1 else ["" for _ in rows]


def differences(rows: Sequence[ReportRow], benches: Sequence[BenchFacts] = ()) -> list[str]:
    """Say of each row only what sets its setting apart: ``cuda, batch 8``; "" if all are alike."""
    parts = [
        (row.runtime, row.device, row.precision, _batch(row), _threads(row), machine)
        for row, machine in zip(rows, machines(rows, benches), strict=True)
        if row.runtime is not None
    ]
    differs = [len(set(values)) > 1 for values in zip(*parts, strict=True)]
    if not any(differs):
        return ["" for _ in rows]
    found = iter(parts)
    return [
        ", ".join(
            str(part) for part, shown in zip(next(found), differs, strict=True) if shown and part
        )
        if row.runtime is not None
        else "not measured"
        for row in rows
    ]


def _batch(row: ReportRow | Measurement) -> str:
    return f"batch {row.batch}"


def _threads(row: ReportRow | Measurement) -> str:
    return f"{row.threads} thread{'' if row.threads == 1 else 's'}"


def choice_text(choice: Choice) -> str:
    """Say which model was chosen within a budget, and which could not be judged."""
    text = f"{choice.sentence}."
    if choice.not_judged:
        text += f" Not judged, for want of figures: {', '.join(choice.not_judged)}."
    return text


def headline(rows: Sequence[ReportRow]) -> tuple[str, str | None]:
    """Return the one-line result, and by which rule it was chosen if there was a choice."""
    pruned = [row for row in rows if not row.is_dense and not row.is_baseline]
    full = [r for r in pruned if r.speedup is not None and r.drop_points is not None]
    full = [row for row in full if row.batch == _smallest_batch(row, full)]  # what is drawn
    pool = full or [r for r in pruned if r.drop_points is not None]
    pool = pool or [r for r in pruned if r.speedup is not None] or pruned
    if not pool:
        return "No pruned model among these runs", None
    # A measurement goes before any estimate.
    pool = [row for row in pool if not (row.estimated or row.speedup_estimated)] or pool
    cheap = [r for r in pool if r.drop_points is None or r.drop_points >= -HEADLINE_DROP_POINTS]
    timed = [r for r in cheap if r.speedup is not None]
    if timed:
        best = max(timed, key=lambda r: (r.speedup or 0.0, r.drop_points or 0.0))
        rule = f"the fastest that loses at most {HEADLINE_DROP_POINTS:g} points"
    else:
        best = max(pool, key=lambda r: (r.drop_points or 0.0, r.speedup or 0.0))
        why = "none was timed" if cheap else f"none stays within {HEADLINE_DROP_POINTS:g} points"
        rule = f"the one that loses least; {why}"
    if len(pool) == 1:
        return _sentence(best, rows), None
    where = f" ({best.label}; {setting(best)})" if best.runtime else f" ({best.label})"
    return _sentence(best, rows), f"One of {len(pool)} pruned results: {rule}{where}."


def _smallest_batch(row: ReportRow, rows: Sequence[ReportRow]) -> int | None:
    """Return the smallest batch size that a row's model was measured at."""
    batches = [other.batch for other in rows if other.label == row.label and other.batch]
    return min(batches, default=None)


def _sentence(row: ReportRow, rows: Sequence[ReportRow]) -> str:
    if row.ratio is None:
        subject = row.label
    else:
        of = f" of {row.budget}" if row.budget not in (None, "channels") else ""
        subject = f"{share(row.ratio)}{of} pruned"
        if len({other.model for other in rows}) > 1 and row.model:
            subject = f"{row.model}, {subject}"
    unseen = f"{row.target} (unseen{'; ' + ORACLE if row.selection == 'oracle' else ''})"
    speed = _faster(row, {other.label for other in rows if other.is_dense})
    if row.target_accuracy is None:
        return f"{subject}: {speed}; accuracy {row.accuracy_note or 'not scored'}"
    if row.drop_points is None:
        return (
            f"{subject}: {speed}, {row.target_accuracy:.1f} % on {unseen};"
            " no dense accuracy to compare"
        )
    change = f"{points(row.drop_points)} points on {unseen}"
    return (
        f"{subject}: {change}; {speed}"
        if row.speedup is None
        else f"{subject}: {speed} at {change}"
    )


def _faster(row: ReportRow, dense: set[str]) -> str:
    if row.speedup is None:
        return "speed-up not measured"
    if f"{row.speedup:.1f}" == "1.0":
        words = "as fast (1.0x)"
    elif row.speedup > 1:
        words = f"{row.speedup:.1f}x faster"
    else:
        words = f"{1 / row.speedup:.1f}x slower"
    if row.baseline not in dense:
        words += f" against {row.baseline}"
    return f"estimated {words}" if row.speedup_estimated else words
