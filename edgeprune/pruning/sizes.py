"""Models of other widths without weights: to count them before anything is cut."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from edgeprune import families
from edgeprune.costs import count
from edgeprune.families.base import WidthKey
from edgeprune.model import skeleton
from edgeprune.pruning.shrink import without_dropped
from edgeprune.pruning.units import BLOCKS
from edgeprune.schema import ArtifactRecord, Cost, Width


class Sizes:
    """What a model would be at other widths.

    Args:
        record: of the model; its widths need not be up to date.
    """

    def __init__(self, record: ArtifactRecord) -> None:
        self._record = record
        self._family = families.of(record.model)
        self._dense = skeleton(record)

    def cost(self, widths: Mapping[WidthKey, int]) -> Cost:
        """Count the model of these widths; ``widths`` names every layer that is left."""
        module = copy.deepcopy(self._dense)
        self._family.resize(module, widths)
        return count(module, self._record.img_size)

    def record(self, widths: Mapping[WidthKey, int]) -> ArtifactRecord:
        """Return the record of the model of these widths."""
        listed = [Width(name=name, dim=dim, width=width) for (name, dim), width in widths.items()]
        return self._record.model_copy(update={"widths": listed, "pruned": self.cost(widths)})


def as_dict(widths: Sequence[Width]) -> dict[WidthKey, int]:
    """Return widths by layer and dimension."""
    return {(width.name, width.dim): width.width for width in widths}


def left_of(present: Mapping[WidthKey, int], keep: Mapping[WidthKey, int]) -> dict[WidthKey, int]:
    """Return the present widths with those of ``keep``, without what lies in dropped blocks."""
    left = without_dropped({**present, **keep})
    return {key: width for key, width in left.items() if key[1] != BLOCKS}
