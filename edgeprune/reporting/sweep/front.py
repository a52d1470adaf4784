"""What may stand in one plot of speed against mean accuracy over the unseen domains."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeprune.reporting.chart import Chart, Point, in_words
from edgeprune.reporting.document import Interval
from edgeprune.reporting.sweep.document import Mean, Speed, SweepReport, SweepRow
from edgeprune.reporting.sweep.headline import method, row_name, short_name
from edgeprune.reporting.sweep.tables import speed_setting

MAX_LABELS = 24


@dataclass(frozen=True)
class Front(Chart):
    """One plot; ``setting`` says how speed was measured, None where x is the MACs ratio.

    ``metric`` is the one that all pruned points share and that their labels leave out;
    ``not_drawn`` names the rows that have no place in it, and why; ``partial`` those whose average
    lacks seeds.
    """

    setting: str | None
    metric: str | None
    not_drawn: tuple[str, ...]
    partial: tuple[str, ...]

    @property
    def is_crowded(self) -> bool:
        """Tell whether only the Pareto front is labelled."""
        return not all(point.labelled for point in self.points)

    def text(self) -> str:
        """Say in words what the plot shows: its alternative text."""
        return f"{self.x_title}, against {self.y_title}. {in_words(self.points)}"


def fronts(data: SweepReport) -> list[Front]:
    """Return a plot for each way of measuring, or one of MACs ratios where nothing was timed.

    Where several batch sizes were measured, the smallest is drawn. A row takes part with its
    average over all targets only.
    """
    groups: dict[tuple[object, ...], list[Speed]] = {}
    for row in data.rows:
        for speed in row.speeds:
            groups.setdefault((speed.estimated, speed_setting(speed)), []).append(speed)
    found = []
    for _, speeds in sorted(groups.items()):
        batch = min(speed.batch for speed in speeds)
        first = next(speed for speed in speeds if speed.batch == batch)
        kind = "Estimated" if first.estimated else "Measured"
        drawn = {
            index: (speed.speedup, speed.ci95)
            for index, row in enumerate(data.rows)
            for speed in row.speeds
            if (speed.estimated, speed_setting(speed), speed.batch)
            == (first.estimated, speed_setting(first), batch)
        }
        title = f"{kind} speed-up over dense (×)"
        setting = f"{speed_setting(first)}, batch {batch}"
        found.append(_front(data, drawn, title, setting, hollow=first.estimated))
    if not found:
        ratios = {
            index: (row.macs_ratio.mean, _range(row))
            for index, row in enumerate(data.rows)
            if row.macs_ratio is not None
        }
        found.append(_front(data, ratios, "MACs ratio, not a measured speed-up (×)", None))
    return [front for front in found if front.points]


def _range(row: SweepRow) -> Interval | None:
    found = row.macs_ratio
    return (found.low, found.high) if found and found.low < found.high else None


def _front(
    data: SweepReport,
    drawn: dict[int, tuple[float, Interval | None]],
    x_title: str,
    setting: str | None,
    *,
    hollow: bool = False,
) -> Front:
    metrics = [method(row) for row in data.rows if row.kind == "pruned"]
    metric = metrics[0] if len(metrics) > 1 and len(set(metrics)) == 1 else None
    points = []
    missing = []
    partial = []
    for index, row in enumerate(data.rows):
        if index not in drawn or row.average.score is None:
            missing.append(_missing(row, len(data.targets)))
            continue
        x, x_range = drawn[index]
        score = row.average.score
        if row.average.seeds < len(data.seeds):
            partial.append(f"{row_name(row)} ({row.average.seeds} of {len(data.seeds)})")
        points.append(
            Point(
                x=x,
                y=score.value,
                label=short_name(row).removesuffix(f" {metric}"),
                series=row.model,
                name=row_name(row),
                x_range=x_range,
                y_range=_error_bar(score),
                hollow=hollow,
            )
        )
    domains = f"{len(data.targets)} unseen domain{'' if len(data.targets) == 1 else 's'}"
    return _uncrowded(
        Front(
            x_title=x_title,
            y_title=f"Mean accuracy over {domains} (%)",
            points=tuple(points),
            setting=setting,
            metric=metric,
            not_drawn=tuple(missing),
            partial=tuple(partial),
        )
    )


def _uncrowded(front: Front) -> Front:
    """Leave labels to the Pareto front where there is no room for all."""
    if len(front.points) <= MAX_LABELS:
        return front
    best = front.front()
    points = tuple(replace(point, labelled=point in best) for point in front.points)
    return replace(front, points=points)


def _missing(row: SweepRow, targets: int) -> str:
    if row.average.score is not None:
        return f"{row_name(row)} (not timed)"
    return f"{row_name(row)} ({row.average.targets} of {targets} targets)"


def _error_bar(found: Mean) -> Interval | None:
    return (found.value - found.se, found.value + found.se) if found.se is not None else None
