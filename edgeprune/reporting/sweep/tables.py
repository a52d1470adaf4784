"""The paper's tables as cells of text, which every format puts into its own markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.reporting.sweep import cells
from edgeprune.reporting.sweep.cells import EMPTY, NOTHING, Cell
from edgeprune.reporting.sweep.document import Speed, SweepReport, SweepRow
from edgeprune.reporting.sweep.headline import method, row_name
from edgeprune.reporting.sweep.rows import target_column
from edgeprune.reporting.sweep.timing import setting_of
from edgeprune.reporting.wording import share


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: for labels.
        title: heading.
        caption: sentences without their full stops.
        columns: headings; the first ``texts`` hold words, the others figures.
        texts: number of columns of words.
        rows: as many cells each as there are columns.
        names: what each row is called elsewhere, in plots too.
        starts: indices of the rows where a new model begins.
    """

    name: str
    title: str
    caption: list[str]
    columns: list[str]
    texts: int
    rows: list[list[Cell]]
    names: list[str]
    starts: list[int]


def tables(data: SweepReport) -> list[Table]:
    """Return the tables of a sweep: results, accuracy right after pruning, training."""
    made = [results(data)]
    if any(row.untuned.targets for row in data.rows):
        made.append(_untuned(data))
    return [*made, _training(data)]


def results(data: SweepReport) -> Table:
    """Return the main table: accuracies, drop, what it buys and costs."""
    settings = _settings(data.rows)
    figures = [
        [
            *(
                cells.score(row.targets[target], bold=target_column(target) in row.best)
                for target in data.targets
            ),
            cells.average(row.average, row, bold="average" in row.best),
            cells.drop(row),
            cells.spread(row.macs_ratio),
            cells.spread(row.params_ratio),
            *(cells.speed(row, setting) for setting in settings),
            cells.finetune_time(row),
        ]
        for row in data.rows
    ]
    speeds = [_heading(setting, settings) for setting in settings]
    columns = ["Average", "Drop", "MACs ratio", "Params ratio", *speeds, "FT time"]
    caption = [
        "Accuracy in percent, one column per domain that was left out of training",
        *_counted(data),
        "Average: over the domains within each seed, then over seeds",
        "Drop: points against the dense model of the same domain and seed; its ± is the standard"
        " error over trials (domains and seeds)",
        *_image_intervals(data.rows),
        "MACs and params ratio: dense by pruned, with the range over trials where they differ",
        *_speed_notes(data.rows, settings),
        "FT time: training time of fine-tuning, without the teacher's answers, by that of the dense"
        " model on the same machine",
        *_best_note(data),
    ]
    title = "Accuracy on unseen domains, and what pruning buys"
    return _table(data, "results", title, [*data.targets, *columns], figures, caption)


def _untuned(data: SweepReport) -> Table:
    columns = [*data.targets, "Average"]
    figures = [
        [
            *(cells.score(row.untuned_targets[target]) for target in data.targets),
            cells.average(row.untuned, row),
        ]
        if row.kind == "pruned"
        else [NOTHING for _ in columns]
        for row in data.rows
    ]
    caption = [
        "Accuracy in percent on the domain that was left out, before any fine-tuning",
        *_counted(data),
    ]
    return _table(data, "untuned", "Accuracy right after pruning", columns, figures, caption)


def _training(data: SweepReport) -> Table:
    flips = any(row.flipped.score for row in data.rows)
    figures = [
        [
            cells.average(row.source_val, row),
            *([cells.average(row.flipped, row)] if flips else []),
            Cell(" or ".join(map(str, row.steps)) or EMPTY, number=max(row.steps, default=None)),
            cells.seconds(row.prune_s),
            cells.seconds(row.finetune_s),
            cells.finetune_time(row),
            _trials(row),
        ]
        for row in data.rows
    ]
    flipped = ["Flipped"] if flips else []
    columns = ["Steps", "Prune (s)", "Train (s)", "FT time", "Trials"]
    caption = [
        "Source validation: accuracy in percent on held-out images of the domains trained on",
        *(["Flipped: percent of images that pruning put into another class"] if flips else []),
        *_counted(data),
        "Times are wall seconds per trial, means over the trials that are done",
    ]
    headings = ["Source validation", *flipped, *columns]
    return _table(data, "training", "Training", headings, figures, caption)


def _ratio(row: SweepRow) -> Cell:
    return (
        Cell(share(row.ratio), plain=True, number=row.ratio) if row.ratio is not None else NOTHING
    )


def _trials(row: SweepRow) -> Cell:
    note = f"{row.failed} failed" if row.failed else ""
    return Cell(f"{row.done} of {row.planned}", note=note, number=row.done)


def _table(
    data: SweepReport,
    name: str,
    title: str,
    columns: list[str],
    figures: list[list[Cell]],
    caption: list[str],
) -> Table:
    """Put the columns that say which row this is before the figures."""
    pruned = [row for row in data.rows if row.kind == "pruned"]
    extra = [
        (column, field)
        for column, field in (("Budget", "budget"), ("Scope", "scope"))
        if len({getattr(row, field) for row in pruned}) > 1
    ]
    heads = [
        [
            *(Cell(text, plain=True) for text in (row.model, method(row))),
            *(Cell(getattr(row, field) or EMPTY, plain=True) for _, field in extra),
            _ratio(row),
        ]
        for row in data.rows
    ]
    models = [row.model for row in data.rows]
    unfinished = [] if data.complete else [data.progress]
    return Table(
        name=name,
        title=title,
        caption=[*caption, *_common(pruned, extra), *data.protocol, *unfinished],
        columns=["Model", "Metric", *(column for column, _ in extra), "Ratio", *columns],
        texts=3 + len(extra),
        rows=[[*head, *row] for head, row in zip(heads, figures, strict=True)],
        names=[row_name(row) for row in data.rows],
        starts=[i for i, model in enumerate(models) if i == 0 or models[i - 1] != model],
    )


def _common(pruned: Sequence[SweepRow], extra: Sequence[tuple[str, str]]) -> list[str]:
    """Say once what all pruned rows share and no column shows."""
    if not pruned:
        return []
    shown = {field for _, field in extra}
    of = "" if "budget" in shown else f" of {pruned[0].budget or 'width'}"
    scope = "" if "scope" in shown or not pruned[0].scope else f", {pruned[0].scope} scope"
    return [f"Ratio: share that was removed{of}{scope}"]


def _counted(data: SweepReport) -> list[str]:
    seeds = ", ".join(map(str, data.seeds))
    if len(data.seeds) == 1:
        return [f"One seed ({seeds}): the error over seeds is not known"]
    return [
        f"Mean ± standard error (sample standard deviation / sqrt n) over"
        f" {len(data.seeds)} seeds ({seeds})"
    ]


def _settings(rows: Sequence[SweepRow]) -> list[Speed]:
    found = {setting_of(speed): speed for row in rows for speed in row.speeds}
    return [found[key] for key in sorted(found)]


def speed_setting(speed: Speed) -> str:
    """Say how a speed-up was measured, without the batch."""
    threads = f"{speed.threads} thread{'' if speed.threads == 1 else 's'}"
    return f"{speed.runtime} on {speed.device}, {speed.precision}, {threads}"


def _heading(setting: Speed, settings: Sequence[Speed]) -> str:
    kind = "Estimated" if setting.estimated else "Measured"
    many = len({speed_setting(other) for other in settings}) > 1
    how = f" ({speed_setting(setting)})" if many else ""
    return f"{kind} speed-up, batch {setting.batch}{how}"


def _speed_notes(rows: Sequence[SweepRow], settings: Sequence[Speed]) -> list[str]:
    if not settings:
        return ["No speed-up was measured"]
    alike = list(dict.fromkeys(speed_setting(setting) for setting in settings))
    how = f": {alike[0]}" if len(alike) == 1 else ""
    several = any(speed.trials > 1 for row in rows for speed in row.speeds if row.kind == "pruned")
    return [
        f"Speed-up: ratio of median latencies over the dense model, with 95 % interval{how}",
        *(["Of several timed trials: their geometric mean, and all intervals"] if several else []),
    ]


def _image_intervals(rows: Sequence[SweepRow]) -> list[str]:
    if not any(row.drop_ci95 for row in rows):
        return []
    return [
        "In brackets its 95 % interval from a paired bootstrap over images, or over groups where"
        " the split is by group"
    ]


def _best_note(data: SweepReport) -> list[str]:
    if not any(row.best for row in data.rows):
        return []
    return ["Bold: best of each ratio" + ("" if data.complete else " where all trials are done")]
