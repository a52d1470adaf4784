"""The HTML page of a sweep: one file that opens offline, with no reference to any network."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from typing import Any

from edgeprune.reporting.picture import picture
from edgeprune.reporting.plot import draw
from edgeprune.reporting.sweep.curves import all_curves, draw_curves
from edgeprune.reporting.sweep.document import SweepReport
from edgeprune.reporting.sweep.failures import failures, name_of
from edgeprune.reporting.sweep.front import fronts
from edgeprune.reporting.sweep.tables import tables
from edgeprune.reporting.template import render


def html(data: SweepReport) -> str:
    """Return the report as one HTML document.

    Raises:
        UnavailableError: if Jinja2 or matplotlib is missing.
    """
    return render(
        "sweep.html.j2",
        data=data,
        notes=[] if data.complete else [f"{data.progress}."],
        fronts=[(front, picture(partial(draw, front))) for front in fronts(data)],
        curves=[(curves, picture(partial(draw_curves, curves))) for curves in all_curves(data)],
        tables=tables(data),
        failures=failures(data),
        name_of=name_of,
        machines=_distinct(trial.machine for trial in data.trials),
        packages=_distinct(trial.versions for trial in data.trials),
    )


def _distinct(facts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each set of facts once; what a trial has not is left out."""
    found = {json.dumps(each, sort_keys=True): each for each in facts if each}
    return list(found.values())
