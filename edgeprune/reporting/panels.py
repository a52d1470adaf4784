"""Which rows may stand in one plot: scored on the same images, measured in the same setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.reporting.chart import Chart, Point, in_words, shorten
from edgeprune.reporting.document import ReportRow
from edgeprune.reporting.wording import setting
from edgeprune.selection import ORACLE


@dataclass(frozen=True)
class Panel(Chart):
    """One plot: all its points share data set, target, split and measurement setting.

    ``metric`` is the one that all pruned points share and that their labels leave out.
    """

    dataset: str
    target: str
    split: str
    setting: str
    metric: str | None

    @property
    def how(self) -> str:
        """``Measured`` or ``Estimated``: a panel holds only one of them."""
        return "Estimated" if any(point.hollow for point in self.points) else "Measured"

    def text(self) -> str:
        """Say in words what the plot shows: its alternative text."""
        head = (
            f"{self.how} speed-up against accuracy on {self.target}, unseen in training"
            f" ({self.split}; {self.setting})."
        )
        return f"{head} {in_words(self.points)}"


def build_panels(rows: Sequence[ReportRow]) -> tuple[list[Panel], list[str]]:
    """Return the plots that the rows make, and what a reader must know about the choice.

    Where a setting was measured at several batch sizes, the smallest is drawn.
    """
    drawn = [r for r in rows if r.speedup is not None and r.target_accuracy is not None]
    groups: dict[tuple[object, ...], list[ReportRow]] = {}
    for row in drawn:
        score = (*_scored_on(row), row.target_n)
        # Estimates have a plot of their own.
        how = (row.runtime, row.device, row.precision, row.threads, _is_estimated(row))
        groups.setdefault((*score, *how), []).append(row)
    panels = []
    notes = []
    for members in groups.values():
        batches = sorted({row.batch for row in members if row.batch is not None})
        panels.append(_panel([row for row in members if row.batch == batches[0]]))
        if len(batches) > 1:
            more = ", ".join(str(batch) for batch in batches[1:])
            notes.append(
                f"the plot shows batch {batches[0]}; batch {more} is in the table"
                f" ({members[0].target}, {members[0].runtime})"
            )
    scored = {_scored_on(row) for row in rows if row.target}
    if len(scored) > 1:
        notes.append(
            "accuracies were scored on different data sets, targets or splits, or their step was"
            " selected otherwise:"
            " compare them only where these agree"
        )
    return panels, notes


def _scored_on(row: ReportRow) -> tuple[object, ...]:
    """What two accuracies must share to be compared; only oracle selection stands apart."""
    split = (row.split, row.split_seed, row.holdout)
    return (row.dataset, row.target, *split, row.selection == "oracle")


def _panel(rows: Sequence[ReportRow]) -> Panel:
    first = rows[0]
    metric = _common_metric(rows)
    names = [row.short.removesuffix(f" {metric}") if metric else row.short for row in rows]
    series = [row.model or row.label for row in rows]
    keys = list(zip(series, names, strict=True))
    points = tuple(
        Point(
            name=row.label,
            x=row.speedup or 0.0,
            y=row.target_accuracy or 0.0,
            label=_label(row, key[1] if keys.count(key) == 1 else row.label),
            series=key[0],
            x_range=row.speedup_ci95,
            y_range=row.target_ci95,
            hollow=_is_estimated(row),
        )
        for row, key in zip(rows, keys, strict=True)
    )
    baselines = list(dict.fromkeys(row.baseline for row in rows if row.baseline))
    dense = {row.label for row in rows if row.is_dense}
    if all(baseline in dense for baseline in baselines):
        baseline = "dense"
    else:
        baseline = baselines[0] if len(baselines) == 1 else "its baseline"
    how = "Estimated" if _is_estimated(first) else "Measured"
    return Panel(
        x_title=f"{how} speed-up over {shorten(baseline)} (×)",
        y_title=f"Accuracy on {shorten(first.target or '')}, unseen (%)",
        dataset=first.dataset or "",
        target=first.target or "",
        split=f"split by {first.split}, seed {first.split_seed}{_marked(first)}",
        setting=setting(first).removeprefix("estimated: "),
        metric=metric,
        points=points,
    )


def _is_estimated(row: ReportRow) -> bool:
    return bool(row.estimated or row.speedup_estimated)


def _marked(row: ReportRow) -> str:
    return f"; {ORACLE}" if row.selection == "oracle" else ""


def _common_metric(rows: Sequence[ReportRow]) -> str | None:
    """Return the metric that need not stand at every point since several share it, or None."""
    pruned = [row.metric for row in rows if not row.is_dense]
    return pruned[0] if len(pruned) > 1 and len(set(pruned)) == 1 else None


def _label(row: ReportRow, name: str) -> str:
    return f"{name} (estimated)" if _is_estimated(row) else name
