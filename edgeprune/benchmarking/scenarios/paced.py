"""One request per period, as a camera sends them: between two, clocks have time to fall."""

from __future__ import annotations

import dataclasses

from edgeprune.benchmarking.groups import Setup
from edgeprune.benchmarking.scenarios import latency
from edgeprune.benchmarking.scenarios.base import Options, Outcome

NEEDS = ("period_s",)
COMPARES = True


def measure(setup: Setup, options: Options) -> Outcome:
    """Measure as for latency; models take turns, and every call of every turn is paced."""
    return latency.measure(dataclasses.replace(setup, period_s=options.period_s), options)
