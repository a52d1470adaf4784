"""Which evaluation of a training gives the weights that are kept, and how that is put in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from edgeprune.errors import one_of
from edgeprune.schema import HistoryPoint, Made, Selection

SELECTIONS: tuple[Selection, ...] = get_args(Selection)

ORACLE = "oracle selection: the target picked the step"


def chosen(history: Sequence[HistoryPoint], selection: Selection) -> HistoryPoint:
    """Return the evaluation whose weights are kept; of equals the later.

    "source" is the training-domain validation of DomainBed (Gulrajani and Lopez-Paz, ICLR 2021)
    and takes the best on the source domains' validation images, "last" takes the last, and
    "oracle" the best on the target. DomainBed's own test-domain validation lets the target choose
    among runs, each at its last step; here it chooses among the evaluations of one run.
    """
    if selection == "last":
        return history[-1]
    if selection == "oracle":
        return max(reversed(history), key=lambda point: point.target or 0.0)
    return max(reversed(history), key=lambda point: point.source_val)


def selection_of(made: Sequence[Made]) -> Selection | None:
    """Return how the weights of an artifact were selected, or None if it was never trained.

    The last training decides, but what the target picked once stays picked by the target.

    Raises:
        UsageError: if a step names a selection that is not known.
    """
    trained = [step.options for step in made if step.command == "finetune"]
    found = [one_of(str(o.get("selection", "source")), "selection", SELECTIONS) for o in trained]
    if "oracle" in found:
        return "oracle"
    return found[-1] if found else None


def comparable(first: Selection | None, second: Selection | None) -> bool:
    """Tell whether accuracies so selected may be compared; what is not known goes with each."""
    return first == second or (None in (first, second) and "oracle" not in (first, second))
