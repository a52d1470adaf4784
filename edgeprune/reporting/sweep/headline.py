"""The one line that says what a sweep found."""

from __future__ import annotations

from collections.abc import Sequence

from edgeprune.reporting.sweep.document import Speed, SweepRow
from edgeprune.reporting.wording import HEADLINE_DROP_POINTS, points, share


def headline(rows: Sequence[SweepRow], targets: Sequence[str]) -> tuple[str, str | None]:
    """Return the result in a line and by which rule it was chosen, if there was a choice.

    Only rows whose drop covers every target take part, and while there are any, only those with
    every seed. The fastest one that loses little is chosen: by measured speed-up where all were
    timed, else by their MACs.
    """
    scored = [row for row in rows if row.kind == "pruned" and row.drop.score is not None]
    pool = [row for row in scored if row.done == row.planned] or scored
    if not pool:
        if any(row.kind == "pruned" and row.average.score for row in rows):
            return "No pruned model can be held against its dense one on every target", None
        return "No pruned model has been scored on every target yet", None
    timed = all(row.macs_ratio is None or measured(row) for row in pool)
    cheap = [row for row in pool if _points(row) >= -HEADLINE_DROP_POINTS]
    if cheap:
        best = max(cheap, key=lambda row: (_gain(row, timed), _points(row)))
        rule = f"the {'fastest' if timed else 'smallest by MACs'} that loses at most"
        rule += f" {HEADLINE_DROP_POINTS:g} points"
    else:
        best = max(pool, key=lambda row: (_points(row), _gain(row, timed)))
        rule = f"the one that loses least; none stays within {HEADLINE_DROP_POINTS:g} points"
    domains = f"{len(targets)} unseen domain{'' if len(targets) == 1 else 's'}"
    speed = measured(best)
    gain = (
        f"{speed.speedup:.1f}x faster"
        if speed is not None
        else f"{best.macs_ratio.mean if best.macs_ratio else 1:.1f}x fewer MACs"
    )
    seeds = f", {best.done} of {best.planned} trials done" if best.done < best.planned else ""
    line = f"{row_name(best)}: {gain} at {points(_points(best))} points over {domains}{seeds}"
    return line, f"One of {len(pool)} pruned rows: {rule}." if len(pool) > 1 else None


def row_name(row: SweepRow) -> str:
    """Name a row: ``DeiT-S, 50 % hessian``."""
    return f"{row.model}, {short_name(row)}"


def short_name(row: SweepRow) -> str:
    """Name a row within its model."""
    if row.kind == "dense" or row.ratio is None:
        return method(row)
    of = f" of {row.budget}" if row.budget not in (None, "channels") else ""
    return " ".join(filter(None, [f"{share(row.ratio)}{of}", method(row)]))


def method(row: SweepRow) -> str:
    """Name the metric, or the dense model, and say if the target selected its steps.

    Further rows of a metric with other settings are numbered.
    """
    number = f"#{row.variant}" if row.variant > 1 else ""
    oracle = "(oracle)" if "oracle" in row.selections else ""
    return " ".join(filter(None, [row.metric or "dense", number, oracle]))


def measured(row: SweepRow) -> Speed | None:
    """Return the measured speed-up at the smallest batch, never an estimated one."""
    own = [speed for speed in row.speeds if not speed.estimated]
    return min(own, key=lambda speed: speed.batch, default=None)


def _points(row: SweepRow) -> float:
    return row.drop.score.value if row.drop.score else 0.0


def _gain(row: SweepRow, timed: bool) -> float:
    speed = measured(row)
    if timed and speed is not None:
        return speed.speedup
    return row.macs_ratio.mean if row.macs_ratio else 0.0
