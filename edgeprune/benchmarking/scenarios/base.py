"""What a scenario has to offer: one module per scenario, found by its file name.

A module has ``NEEDS``, the names of the fields of :class:`Options` that it cannot do without,
``COMPARES`` (whether models take turns and may have a baseline), and ``measure(setup, options)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edgeprune.benchmarking.groups import Setup
from edgeprune.benchmarking.results import Measured
from edgeprune.errors import UsageError
from edgeprune.schema import Saturation

# A clock and a loop in Python cannot tell shorter ones apart, and every request is counted.
LEAST_PERIOD_S = 1e-6


@dataclass(frozen=True)
class Options:
    """What a person may say about a scenario; None where nothing was said.

    Args:
        batches: batch sizes.
        period_s: seconds from one request to the next.
        duration_s: seconds of load without a pause.
    """

    batches: Sequence[int] | None = None
    period_s: float | None = None
    duration_s: float | None = None

    def check(self, scenario: str, needs: Sequence[str]) -> None:
        """Check that what is needed is there, sensible, and nothing else.

        Raises:
            UsageError: naming the option.
        """
        for name, value in (("period", self.period_s), ("duration", self.duration_s)):
            needed = f"{name}_s" in needs
            if needed and value is None:
                raise UsageError(f"--scenario {scenario} needs --{name}")
            if value is not None and not needed:
                raise UsageError(f"--{name} is not for --scenario {scenario}")
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} {value:g} is not accepted; a time above 0 is")
        if self.period_s is not None and self.period_s < LEAST_PERIOD_S:
            raise UsageError(
                f"period of {1000 * self.period_s:g} ms is not accepted;"
                f" {1000 * LEAST_PERIOD_S:g} ms and more are"
            )

    def check_period(self, max_time_s: float) -> None:
        """Check that there is time for the period. Raises UsageError naming it."""
        if self.period_s is not None and self.period_s > max_time_s:
            raise UsageError(
                f"period of {1000 * self.period_s:g} ms is not accepted; it has to fit into"
                f" max-time, {max_time_s:g} s"
            )


@dataclass
class Outcome:
    """What a scenario measured; ``saturation`` if it looked for the highest throughput."""

    measured: list[Measured]
    saturation: list[Saturation] | None = None
    warnings: list[str] = field(default_factory=list)


class ScenarioModule(Protocol):
    """A module in this package, see above."""

    NEEDS: tuple[str, ...]
    COMPARES: bool

    def measure(self, setup: Setup, options: Options) -> Outcome:
        """Measure all sources of ``setup``."""
        ...
