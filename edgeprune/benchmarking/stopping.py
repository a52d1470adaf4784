"""When a measurement is long enough: precise enough, or as long as is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeprune.benchmarking import stats
from edgeprune.benchmarking.stats import Samples
from edgeprune.errors import UsageError

StoppedBy = Literal["precision", "max_time", "min_time", "duration"]

PRECISION_TARGET = 0.01
# Without --max-time, so many times --min-time.
MAX_TIME_FACTOR = 10
NO_TARGET = "none"
PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%", re.ASCII)


@dataclass(frozen=True)
class StopRule:
    """When to stop; seconds are of timed calls per model and batch size.

    ``precision`` is the half width of the 95 % interval on the median, relative to the median, that
    every model must reach; None measures for ``min_time_s`` and no longer.
    """

    min_time_s: float
    max_time_s: float
    precision: float | None = None

    @classmethod
    def of(
        cls, min_time_s: float, max_time_s: float | None = None, precision: float | None = None
    ) -> StopRule:
        """Check the figures and fill in what is not given.

        Raises:
            UsageError: naming the one that is out of range.
        """
        if not (math.isfinite(min_time_s) and min_time_s > 0):
            raise UsageError(f"min-time {min_time_s:g} is not accepted; seconds above 0 are")
        if max_time_s is None:
            max_time_s = MAX_TIME_FACTOR * min_time_s
        if not (math.isfinite(max_time_s) and max_time_s >= min_time_s):
            raise UsageError(
                f"max-time {max_time_s:g} is not accepted; seconds from min-time"
                f" ({min_time_s:g}) upwards are"
            )
        if precision is not None and not 0 < precision < 1:
            raise UsageError(
                f"precision-target {precision:.3g} is not accepted; a share between 0 and 1 is"
            )
        return cls(min_time_s, max_time_s, precision)


def parse_precision(text: str) -> float | None:
    """Read ``1%`` as 0.01, and ``none`` as None.

    Raises:
        UsageError: naming the text that is neither.
    """
    if text == NO_TARGET:
        return None
    match = PERCENT.fullmatch(text.strip())
    if match is None or not 0 < float(match[1]) < 100:
        raise UsageError(
            f"precision-target {text!r} is not accepted; percent between 0% and 100%, such as 1%,"
            f" or {NO_TARGET} are"
        )
    return float(match[1]) / 100


def half_width(rounds: Sequence[Samples], seed: int) -> float:
    """Return the half width of the 95 % interval on the median, relative to the median."""
    low, high = stats.median_interval(rounds, seed=seed)
    return (high - low) / 2 / float(np.median(np.concatenate(rounds)))
