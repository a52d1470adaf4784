"""What our own layers tell a dependency graph: one channel in, one out, and what belongs to it."""

from __future__ import annotations

import torch

# A parameter, the axis of its channels, and where on it the first channel sits.
Slice = tuple[torch.Tensor, int, int]


class Prunable:
    """A layer that has to be shown to torch-pruning's graph in a simpler form.

    Attributes:
        tracing: true while a graph is traced: the layer then only shows which of its channels
            comes from which, one for one.
    """

    tracing = False

    def slices(self, outputs: bool) -> list[Slice]:
        """Return where parameters have an entry per channel of the output or else the input.

        Channel c is the entry at the offset plus c.
        """
        return []
