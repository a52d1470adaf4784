"""Which rows may stand in one plot: scored on the same images, measured in the same setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.reporting.document import ReportRow
from edgeprune.reporting.wording import setting

MIN_FRONT_POINTS = 3


@dataclass(frozen=True)
class Point:
    """One row as a point: speed-up and accuracy, its label in the plot, and its series."""

    row: ReportRow
    x: float
    y: float
    label: str
    series: str


@dataclass(frozen=True)
class Panel:
    """One plot: all its points share data set, target, split and measurement setting.

    ``metric`` is the one that all pruned points share and that their labels leave out.
    """

    dataset: str
    target: str
    split: str
    setting: str
    baseline: str
    metric: str | None
    points: tuple[Point, ...]

    @property
    def series(self) -> list[str]:
        """The models in the plot, in order."""
        return list(dict.fromkeys(point.series for point in self.points))

    def front(self) -> list[Point]:
        """Return the points that no other beats in both, by speed-up; few points have none."""
        if len(self.points) < MIN_FRONT_POINTS:
            return []
        ordered = sorted(self.points, key=lambda point: (-point.x, -point.y))
        found: list[Point] = []
        for point in ordered:
            if not found or point.y > found[-1].y:
                found.append(point)
        return found[::-1]

    @property
    def how(self) -> str:
        """``Measured`` or ``Estimated``: a panel holds only one of them."""
        estimated = any(p.row.estimated or p.row.speedup_estimated for p in self.points)
        return "Estimated" if estimated else "Measured"

    def text(self) -> str:
        """Say in words what the plot shows: its alternative text."""
        head = (
            f"{self.how} speed-up against accuracy on {self.target}, unseen in training"
            f" ({self.setting})."
        )
        return " ".join([head, *(_in_words(point) for point in self.points)])


def build_panels(rows: Sequence[ReportRow]) -> tuple[list[Panel], list[str]]:
    """Return the plots that the rows make, and what a reader must know about the choice.

    Where a setting was measured at several batch sizes, the smallest is drawn.
    """
    drawn = [r for r in rows if r.speedup is not None and r.target_accuracy is not None]
    groups: dict[tuple[object, ...], list[ReportRow]] = {}
    for row in drawn:
        score = (row.dataset, row.target, row.split, row.split_seed, row.holdout, row.target_n)
        # Estimates have a plot of their own.
        guessed = bool(row.estimated or row.speedup_estimated)
        how = (row.runtime, row.device, row.precision, row.threads, guessed)
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
    scored = {(r.dataset, r.target, r.split, r.split_seed, r.holdout) for r in rows if r.target}
    if len(scored) > 1:
        notes.append(
            "accuracies were scored on different data sets, targets or splits:"
            " compare them only where these agree"
        )
    return panels, notes


def _panel(rows: Sequence[ReportRow]) -> Panel:
    first = rows[0]
    metric = _common_metric(rows)
    names = [row.short.removesuffix(f" {metric}") if metric else row.short for row in rows]
    series = [row.model or row.label for row in rows]
    keys = list(zip(series, names, strict=True))
    points = tuple(
        Point(
            row=row,
            x=row.speedup or 0.0,
            y=row.target_accuracy or 0.0,
            label=_label(row, key[1] if keys.count(key) == 1 else row.label),
            series=key[0],
        )
        for row, key in zip(rows, keys, strict=True)
    )
    baselines = list(dict.fromkeys(row.baseline for row in rows if row.baseline))
    dense = {row.label for row in rows if row.is_dense}
    if all(baseline in dense for baseline in baselines):
        baseline = "dense"
    else:
        baseline = baselines[0] if len(baselines) == 1 else "its baseline"
    return Panel(
        dataset=first.dataset or "",
        target=first.target or "",
        split=f"split by {first.split}, seed {first.split_seed}",
        setting=setting(first).removeprefix("estimated: "),
        baseline=baseline,
        metric=metric,
        points=points,
    )


def _common_metric(rows: Sequence[ReportRow]) -> str | None:
    """Return the metric that need not stand at every point since several share it, or None."""
    pruned = [row.metric for row in rows if not row.is_dense]
    return pruned[0] if len(pruned) > 1 and len(set(pruned)) == 1 else None


def _label(row: ReportRow, name: str) -> str:
    return f"{name} (estimated)" if row.estimated or row.speedup_estimated else name


def _in_words(point: Point) -> str:
    row = point.row
    speed = f"{point.x:.2f}x"
    if row.speedup_ci95:
        speed += f" ({row.speedup_ci95[0]:.2f} to {row.speedup_ci95[1]:.2f})"
    accuracy = f"{point.y:.1f} %"
    if row.target_ci95:
        accuracy += f" ({row.target_ci95[0]:.1f} to {row.target_ci95[1]:.1f})"
    model = f"{point.series}, " if point.series != point.label else ""
    return f"{model}{point.label}: {speed}, {accuracy}."
