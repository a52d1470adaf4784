"""The best model within a budget: ``p95<10ms``, ``accuracy>=60``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeprune.errors import UsageError, one_of
from edgeprune.reporting.document import Choice, ReportRow
from edgeprune.reporting.wording import milliseconds, setting

Figure = Callable[[ReportRow], float | None]

COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
TIME = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Quantity:
    """What a budget may be about; ``units`` are factors to the unit of ``figure``."""

    figure: Figure
    units: dict[str, float]
    costs: bool = True


QUANTITIES = {
    "p50": Quantity(lambda row: row.latency_p50_ms, TIME),
    "p90": Quantity(lambda row: row.latency_p90_ms, TIME),
    "p95": Quantity(lambda row: row.latency_p95_ms, TIME),
    "p99": Quantity(lambda row: row.latency_p99_ms, TIME),
    "throughput": Quantity(lambda row: row.throughput_ips, {"ips": 1.0}),
    "memory": Quantity(lambda row: row.peak_rss_mb, {"mb": 1.0, "gb": 1e3}),
    "energy": Quantity(lambda row: row.energy_mj, {"mj": 1.0, "j": 1e3}),
    "params": Quantity(lambda row: row.params, {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}),
    "macs": Quantity(lambda row: row.macs, {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}),
    "accuracy": Quantity(lambda row: row.target_accuracy, {"%": 1.0}, costs=False),
    "worst": Quantity(lambda row: row.worst_domain_accuracy, {"%": 1.0}, costs=False),
    "drop": Quantity(lambda row: _lost(row), {"points": 1.0}, costs=False),
}


@dataclass(frozen=True)
class Budget:
    """One condition on a row, as it was written."""

    text: str
    name: str
    comparison: str
    value: float

    @property
    def costs(self) -> bool:
        """Whether it limits what a model costs; else how well it must do."""
        return QUANTITIES[self.name].costs

    def holds(self, row: ReportRow) -> bool | None:
        """Tell whether a row keeps it; None where the figure is not known."""
        found = QUANTITIES[self.name].figure(row)
        return None if found is None else bool(COMPARISONS[self.comparison](found, self.value))


def parse_budget(text: str) -> Budget:
    """Read a condition such as ``p95<10ms``, ``throughput >= 200`` or ``drop<=2``.

    Raises:
        UsageError: if it is none, naming what is accepted.
    """
    found = re.fullmatch(
        r"\s*([a-z0-9]+)\s*(<=|>=|<|>)\s*([0-9.eE+-]+)\s*([a-z%]*)\s*", text.lower()
    )
    if found is None:
        raise UsageError(
            f"budget {text!r} is not accepted; a figure, a comparison and a number are, such as"
            " 'p95<10ms' or 'accuracy>=60'"
        )
    name, comparison, number, unit = found.groups()
    quantity = QUANTITIES[one_of(name, "figure of a budget", QUANTITIES)]
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"budget {text!r}: {number!r} is not a number")
    if unit and unit not in quantity.units:
        accepted = ", ".join(filter(None, quantity.units))
        raise UsageError(f"budget {text!r}: unit {unit!r} is not accepted; {accepted} is")
    return Budget(text.strip(), name, comparison, value * (quantity.units[unit] if unit else 1.0))


def choose(
    rows: Sequence[ReportRow], budgets: Sequence[Budget], device: str | None = None
) -> list[Choice]:
    """Return the best row within all budgets, for each way of measuring and each bench result.

    Where a budget limits what a model costs, the best is the most accurate on the target; where
    all of them are about accuracy, it is the fastest. A row without a figure that a budget asks
    for is not judged, and named.

    Raises:
        UsageError: if no row was measured on ``device``.
    """
    if device is not None:
        devices = sorted({row.device for row in rows if row.runtime is not None and row.device})
        if device not in devices:
            raise UsageError(
                f"nothing here was measured or estimated on {device!r}; there is"
                f" {', '.join(devices) or 'no measurement'}"
            )
        rows = [row for row in rows if row.runtime is None or row.device == device]
    return [_choice(how, own, budgets) for how, own in groups(rows)]


def groups(rows: Sequence[ReportRow]) -> list[tuple[str, list[ReportRow]]]:
    """Return the rows of each way of measuring and bench result, and how that was.

    Rows that nothing measured are in all of them, or make one where nothing was measured at all.
    """
    measured = [row for row in rows if row.runtime is not None]
    unmeasured = [row for row in rows if row.runtime is None] if measured else []
    found: dict[tuple[str, str | None], list[ReportRow]] = {}
    for row in measured or rows:
        # Each bench result by itself: another one may be of another machine.
        found.setdefault((setting(row), row.bench), []).append(row)
    settings = [how for how, _ in found]
    return [
        (
            f"{how} ({bench})" if bench and settings.count(how) > 1 else how,
            [*own, *unmeasured],
        )
        for (how, bench), own in found.items()
    ]


def _choice(how: str, rows: Sequence[ReportRow], budgets: Sequence[Budget]) -> Choice:
    best_by, other = _accuracy, _speed
    if not any(budget.costs for budget in budgets):
        best_by, other = _speed, _accuracy
    kept: list[ReportRow] = []
    unknown: list[ReportRow] = []
    for row in rows:
        verdicts = [budget.holds(row) for budget in budgets]
        if None in verdicts and False not in verdicts:
            unknown.append(row)
        elif all(verdicts):
            (kept if best_by(row) is not None else unknown).append(row)
    best = max(kept, key=lambda row: (best_by(row), other(row) or -math.inf), default=None)
    rule = "the most accurate on the target" if best_by is _accuracy else "the fastest"
    return Choice(
        setting=how,
        budget=[budget.text for budget in budgets],
        rule=rule,
        label=best.label if best else None,
        sentence=_sentence(best, how, budgets, rule, len(rows)),
        estimated=bool(best and best.estimated),
        judged=len(rows) - len(unknown),
        not_judged=[row.label for row in unknown],
    )


def _accuracy(row: ReportRow) -> float | None:
    return row.target_accuracy


def _speed(row: ReportRow) -> float | None:
    return None if row.latency_p50_ms is None else -row.latency_p50_ms


def _lost(row: ReportRow) -> float | None:
    """Points lost against dense."""
    return None if row.drop_points is None else -row.drop_points


def _sentence(
    best: ReportRow | None, how: str, budgets: Sequence[Budget], rule: str, rows: int
) -> str:
    wanted = " and ".join(budget.text for budget in budgets)
    if best is None:
        return f"{how}: none of {rows} models is known to keep {wanted}"
    words = []
    if best.latency_p50_ms is not None:
        words.append(f"p50 {milliseconds(best.latency_p50_ms)} ms")
    if best.target_accuracy is not None:
        words.append(f"{best.target_accuracy:.1f} % on {best.target}, unseen")
    return f"{how}: {best.label} is {rule} of those with {wanted} ({'; '.join(words)})"
