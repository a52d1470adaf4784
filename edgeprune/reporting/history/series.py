"""From lines of a history to series of latencies, one for each model and machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgeprune.gate.history import HistoryLine
from edgeprune.gate.wording import NAMES, setting
from edgeprune.schema import Finding

TIME = "ms"
SHORT = 7


@dataclass(frozen=True)
class Point:
    """One check: its place in the history, the figure and what became of it."""

    index: int
    commit: str
    time: str
    value: float
    verdict: str


@dataclass
class Series:
    """Latencies of one model on one machine, oldest first."""

    model: str
    machine: str
    points: list[Point] = field(default_factory=list)


@dataclass
class Panel:
    """All series of one metric in one setting; ``ticks`` are the commits, oldest first."""

    metric: str
    setting: str
    ticks: list[str]
    series: list[Series] = field(default_factory=list)

    @property
    def machines(self) -> list[str]:
        """The machines in it, in the order in which they came."""
        return list(dict.fromkeys(series.machine for series in self.series))

    def text(self) -> str:
        """Say in words what the plot shows: its alternative text."""
        ends = [
            f"{one.model} on {one.machine}: {one.points[0].value:.3g} {TIME} at"
            f" {one.points[0].commit}, {one.points[-1].value:.3g} {TIME} at"
            f" {one.points[-1].commit}."
            for one in self.series
        ]
        return " ".join([f"{self.metric} over commits, {self.setting}.", *ends])


def build_panels(lines: Sequence[HistoryLine]) -> list[Panel]:
    """Return a panel per metric and setting; machines never share a series."""
    names = machine_names(lines)
    ticks = [short(line) for line in lines]
    panels: dict[tuple[str, str], Panel] = {}
    series: dict[tuple[str, str, str, str], Series] = {}
    for index, line in enumerate(lines):
        machine = names[_key(line)]
        for finding in line.findings:
            if finding.unit != TIME or finding.current is None:
                continue
            metric = f"Latency, {NAMES.get(finding.metric, finding.metric)}"
            where = (metric, setting(finding))
            panel = panels.setdefault(where, Panel(*where, ticks))
            own = (*where, finding.model, machine)
            if own not in series:
                series[own] = Series(finding.model, machine)
                panel.series.append(series[own])
            series[own].points.append(_point(index, line, finding, finding.current))
    return list(panels.values())


def machine_names(lines: Sequence[HistoryLine]) -> dict[str, str]:
    """Name every machine by its CPU; those that differ otherwise are numbered."""
    cpus: dict[str, list[str]] = {}
    for line in lines:
        own = cpus.setdefault(str(line.machine.get("cpu") or "unknown machine"), [])
        if _key(line) not in own:
            own.append(_key(line))
    return {
        key: cpu if len(keys) == 1 else f"{cpu} #{number}"
        for cpu, keys in cpus.items()
        for number, key in enumerate(keys, 1)
    }


def short(line: HistoryLine) -> str:
    """Name a check by its commit, or by its day where no commit is known."""
    return line.commit[:SHORT] if line.commit else line.time[:10]


def _key(line: HistoryLine) -> str:
    # A fact that is not known is one that earlier lines lack.
    return repr(sorted(item for item in line.machine.items() if item[1] is not None))


def _point(index: int, line: HistoryLine, finding: Finding, value: float) -> Point:
    return Point(index, short(line), line.time, value, finding.verdict)
