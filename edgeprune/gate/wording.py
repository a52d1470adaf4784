"""A finding in words and figures, the same in every output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.schema import CheckResult, Finding

HEADER = ("model", "setting", "metric", "baseline", "current", "ratio [95 %]", "limit", "verdict")
NAMES = {
    "accuracy_drop": "accuracy drop",
    "peak_rss": "memory",
    "device_peak": "device memory",
}


@dataclass(frozen=True)
class Table:
    """A table of findings: what they share stands in the title, not in every row."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


def table(findings: Sequence[Finding]) -> Table:
    """Lay findings out, one row each; the last cell is the verdict."""
    parts = [_parts(finding) for finding in findings if finding.unit != "%"]
    varied = [index for index, values in enumerate(zip(*parts, strict=True)) if len({*values}) > 1]
    title = [part for index, part in enumerate(parts[0]) if index not in varied] if parts else []
    rows: list[tuple[str, ...]] = []
    for finding in findings:
        own = "" if finding.unit == "%" else ", ".join(_parts(finding)[i] for i in varied)
        rows.append(
            (
                finding.model,
                own,
                f"{NAMES.get(finding.metric, finding.metric)} {finding.unit}",
                _figure(finding.baseline, finding.unit),
                _figure(finding.current, finding.unit),
                _ratio(finding),
                _limit(finding),
                finding.verdict,
            )
        )
    header: tuple[str, ...] = HEADER
    if not varied:
        header, rows = header[:1] + header[2:], [row[:1] + row[2:] for row in rows]
    return Table(", ".join(title), header, rows)


def setting(finding: Finding) -> str:
    """Name the setting of a measurement; accuracy has none."""
    return "" if finding.unit == "%" else ", ".join(_parts(finding))


def sentence(finding: Finding) -> str:
    """Say what was found, in one line."""
    unit, where = finding.unit, setting(finding)
    who = f"{finding.model} ({where})" if where else finding.model
    told = f"{NAMES.get(finding.metric, finding.metric)}"
    if finding.current is not None:
        told += f" {_figure(finding.current, unit)} {unit}"
    if finding.baseline is not None:
        told += f", baseline {_figure(finding.baseline, unit)} {unit}"
    if finding.ratio is not None:
        told += f", ratio {_ratio(finding)}"
    if finding.limit is not None:
        told += f", {_limit(finding)}"
    return f"{who}: {told}" + (f": {finding.note}" if finding.note else "")


def headline(result: CheckResult) -> str:
    """Say how many findings there are of each verdict."""
    counts = {
        verdict: sum(finding.verdict == verdict for finding in result.findings)
        for verdict in ("passed", "failed", "inconclusive")
    }
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    strict = " (strict: inconclusive does not hold)" if result.strict else ""
    if not result.passed:
        verdict = "The check does not hold"
    elif counts["inconclusive"]:
        verdict = "Nothing failed, but not all is settled"
    else:
        verdict = "The check holds"
    return f"{verdict}: {told}{strict}."


def _parts(finding: Finding) -> tuple[str, ...]:
    threads = f"{finding.threads} thread{'s' if finding.threads > 1 else ''}"
    return (
        finding.runtime,
        finding.device,
        finding.precision,
        threads,
        f"batch {finding.batch}",
    )


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "%":
        return f"{value:.1f}"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _ratio(finding: Finding) -> str:
    low, high = finding.ci95 or (None, None)
    if finding.unit == "%":
        return "" if low is None else f"[{low:.1f} to {high:.1f} %]"
    if finding.ratio is None:
        return ""
    return f"{finding.ratio:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")


def _limit(finding: Finding) -> str:
    if finding.limit is None:
        return ""
    return f"min {finding.limit:.1f}" if finding.unit == "%" else f"max {finding.limit:.4g}"
