"""One call after the other without a pause (MLPerf: single stream)."""

from __future__ import annotations

from edgeprune.benchmarking.groups import Setup, measure_group
from edgeprune.benchmarking.scenarios.base import Options, Outcome

NEEDS: tuple[str, ...] = ()
COMPARES = True


def measure(setup: Setup, options: Options) -> Outcome:
    """Measure all models, batch size by batch size, each in interleaved rounds."""
    measured = []
    for batch in dict.fromkeys(options.batches or (1,)):
        measured += measure_group(setup, setup.sources, batch)
    return Outcome(measured)
