"""What is still accepted: limits as people write them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.errors import UsageError

PERCENTILES = {"median": 50, "p90": 90, "p95": 95, "p99": 99}
DEFAULT_REGRESSION = "10%"
SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%", re.ASCII)


@dataclass(frozen=True)
class LatencyLimit:
    """The largest accepted ratio of one percentile of latency, such as 1.1 for the median."""

    metric: str
    ratio: float

    @property
    def percentile(self) -> int:
        """Which percentile ``metric`` names."""
        return PERCENTILES[self.metric]


@dataclass(frozen=True)
class Limits:
    """All limits of one check; None is no limit. Accuracies are percent and points.

    ``size_ratio`` is of the weights, ``memory_ratio`` of the peak memory.
    """

    latency: tuple[LatencyLimit, ...] = ()
    min_accuracy: float | None = None
    max_accuracy_drop: float | None = None
    size_ratio: float | None = None
    memory_ratio: float | None = None

    @classmethod
    def parse(
        cls,
        *,
        max_regression: Sequence[str] = (),
        min_accuracy: float | None = None,
        max_accuracy_drop: float | None = None,
        max_size_growth: str | None = None,
        max_memory_growth: str | None = None,
    ) -> Limits:
        """Read limits as the command line takes them: ``10%``, ``p95:15%``.

        Raises:
            UsageError: naming the value that is not accepted.
        """
        latency = tuple(_latency(text) for text in max_regression)
        named = [limit.metric for limit in latency]
        for metric in named:
            if named.count(metric) > 1:
                raise UsageError(f"max-regression of {metric} is given twice")
        return cls(
            latency=latency,
            min_accuracy=_percent(min_accuracy, "min-accuracy"),
            max_accuracy_drop=_percent(max_accuracy_drop, "max-accuracy-drop"),
            size_ratio=_growth(max_size_growth, "max-size-growth"),
            memory_ratio=_growth(max_memory_growth, "max-memory-growth"),
        )

    @property
    def compares(self) -> bool:
        """Tell whether any limit needs a baseline's measurements."""
        return bool(self.latency) or self.size_ratio is not None or self.memory_ratio is not None

    @property
    def scores(self) -> bool:
        """Tell whether any limit is on accuracy."""
        return self.min_accuracy is not None or self.max_accuracy_drop is not None


def _latency(text: str) -> LatencyLimit:
    metric, colon, share = text.rpartition(":")
    metric = metric.strip().lower() if colon else "median"
    if metric not in PERCENTILES:
        raise UsageError(
            f"max-regression {text!r} is not accepted: {metric!r} is none of"
            f" {', '.join(PERCENTILES)}"
        )
    return LatencyLimit(metric, _ratio(share, f"max-regression {text!r}", "10% or p95:15%"))


def _growth(text: str | None, option: str) -> float | None:
    return None if text is None else _ratio(text, f"{option} {text!r}", "5%")


def _ratio(text: str, what: str, example: str) -> float:
    match = SHARE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{what} is not accepted; percent are, such as {example}")
    share = float(match[1])
    if share > 1000:
        raise UsageError(f"{what} is not accepted; at most 1000% is")
    return 1 + share / 100


def _percent(value: float | None, option: str) -> float | None:
    if value is not None and not (math.isfinite(value) and 0 <= value <= 100):
        raise UsageError(f"{option} {value:g} is not accepted; percent from 0 to 100 are")
    return value
