"""Figures of a row as cells of text: rounded, with their error, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.reporting.sweep.document import Average, Mean, Speed, Spread, SweepRow, TargetScore
from edgeprune.reporting.sweep.timing import setting_of
from edgeprune.reporting.wording import interval, milliseconds, points

EMPTY = "–"


@dataclass(frozen=True)
class Cell:
    """``value ± error (note)``; ``plain`` marks words in the place of a figure.

    ``number`` is the figure as it is, for sorting; None where there is none.
    """

    value: str
    error: str = ""
    note: str = ""
    bold: bool = False
    plain: bool = False
    number: float | None = None

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing stands in it."""
        return self.value == EMPTY

    def text(self) -> str:
        """Return the cell without markup."""
        error = f" ± {self.error}" if self.error else ""
        return f"{self.value}{error}{f' ({self.note})' if self.note else ''}"


NOTHING = Cell(EMPTY, plain=True)
ONE = Cell("1×", number=1.0)


def score(found: TargetScore, *, bold: bool = False) -> Cell:
    """Show the accuracy on one target, or how far its trials are."""
    if found.score is None:
        word = "failed" if found.failed else "not done" if found.planned else EMPTY
        return Cell(word, plain=True)
    notes = []
    if found.score.n < found.planned:
        notes.append(f"{found.score.n} of {found.planned}")
    if found.failed:
        notes.append(f"{found.failed} failed")
    return _mean(found.score, bold=bold, note=", ".join(notes))


def average(found: Average, row: SweepRow, *, bold: bool = False) -> Cell:
    """Show an average over targets, or how many targets there are."""
    if found.score is None:
        return _missing(found, row)
    return _mean(found.score, bold=bold, note=_of_seeds(found, row))


def drop(row: SweepRow) -> Cell:
    """Show the points against dense with both their errors."""
    if row.kind == "dense":
        return NOTHING
    if row.drop.score is None:
        return _missing(row.drop, row)
    notes = [_of_seeds(row.drop, row)]
    if row.drop_ci95:
        notes.append(f"{points(row.drop_ci95[0])} to {points(row.drop_ci95[1])}")
    return Cell(
        points(row.drop.score.value),
        error=_error(row.drop.score),
        note="; ".join(filter(None, notes)),
        bold="drop" in row.best,
        number=row.drop.score.value,
    )


def spread(found: Spread | None) -> Cell:
    """Show a ratio, with its range where trials differ visibly."""
    if found is None:
        return NOTHING
    low, high = f"{found.low:.2f}", f"{found.high:.2f}"
    note = f"{low} to {high}" if low != high else ""
    return Cell(f"{found.mean:.2f}×", note=note, number=found.mean)


def speed(row: SweepRow, setting: Speed) -> Cell:
    """Show the speed-up of a row in one setting."""
    found = next((s for s in row.speeds if setting_of(s) == setting_of(setting)), None)
    if found is None:
        return NOTHING if setting.estimated else Cell("not measured", plain=True)
    if row.kind == "dense":
        return ONE
    notes = [interval(found.ci95, 2), f"{found.trials} trials" if found.trials > 1 else ""]
    note = "; ".join(filter(None, notes))
    return Cell(f"{found.speedup:.2f}×", note=note, number=found.speedup)


def finetune_time(row: SweepRow) -> Cell:
    """Show the training time against dense."""
    ratio = row.finetune_ratio
    if row.kind == "dense":
        return ONE if row.done else NOTHING
    if ratio is None:
        return NOTHING
    error = f"{ratio.se:.2f}" if ratio.se is not None else ""
    return Cell(f"{ratio.value:.2f}×", error=error, number=ratio.value)


def seconds(found: Mean | None) -> Cell:
    """Show a mean of wall times."""
    return Cell(milliseconds(found.value), number=found.value) if found else NOTHING


def _mean(found: Mean, *, bold: bool, note: str) -> Cell:
    value = f"{found.value:.1f}"
    return Cell(value, error=_error(found), note=note, bold=bold, number=found.value)


def _error(found: Mean) -> str:
    return f"{found.se:.1f}" if found.se is not None else ""


def _missing(found: Average, row: SweepRow) -> Cell:
    if found.targets:
        return Cell(f"{found.targets} of {len(row.targets)} targets", plain=True)
    return Cell("failed" if row.failed == row.planned else EMPTY, plain=True)


def _of_seeds(found: Average, row: SweepRow) -> str:
    planned = max((target.planned for target in row.targets.values()), default=0)
    return f"{found.seeds} of {planned} seeds" if found.seeds < planned else ""
