"""What flows through an exported graph: its values, seen while ONNX Runtime runs it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from onnxscript import ir

from edgeprune.exporting.onnx import write
from edgeprune.onnx_runner import Array, OnnxRunner


class Observer:
    """A graph opened such that the values with the given names can be read.

    Use as a context manager: it keeps a copy of the model on disk meanwhile.
    """

    def __init__(self, found: ir.Model, names: Collection[str]) -> None:
        self._found = found
        self._names = list(dict.fromkeys(names))

    def __enter__(self) -> Observer:
        """Open the graph."""
        copy = self._found.clone()
        taken = {value.name: value for value in copy.graph.inputs}
        made = {value.name: value for node in copy.graph for value in node.outputs}
        self._inputs = [name for name in self._names if name in taken]
        self._made = [name for name in self._names if name in made]
        present = {value.name for value in copy.graph.outputs}
        copy.graph.outputs.extend(made[name] for name in self._made if name not in present)
        self._scratch = tempfile.TemporaryDirectory(prefix="edgeprune-")
        path = Path(self._scratch.name) / "model.onnx"
        write(copy, path, {})
        # the values take the memory that a second copy of the weights would
        self._runner = OnnxRunner(path, prepack=False)
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the copy."""
        self._scratch.cleanup()

    def values(self, images: torch.Tensor) -> Iterator[dict[str, Array]]:
        """Yield the values, by name, for normalised images ``(n, 3, size, size)``.

        They are all held at once, of a large model hundreds of MB for an image: so for each image
        by itself, or for as many as the graph takes.
        """
        for part in images.split(self._runner.batch or 1):
            array = part.numpy()
            for outputs in self._runner.outputs(array, self._made or None):
                found = dict(zip(self._made, outputs, strict=False))
                outputs.clear()  # what the reader takes out is gone before the next run
                found.update(dict.fromkeys(self._inputs, array))
                yield found


def largest_values(found: ir.Model, images: Iterable[torch.Tensor]) -> dict[str, float]:
    """Return the largest absolute number of every floating-point value, infinite for a NaN."""
    names = [
        str(value.name)
        for node in found.graph
        for value in node.outputs
        if value.dtype == ir.DataType.FLOAT
    ]
    largest = dict.fromkeys(names, 0.0)
    with Observer(found, names) as observer:
        for batch in images:
            for values in observer.values(batch):
                while values:
                    name, array = values.popitem()
                    if array.size:
                        seen = float(np.abs(array).max())
                        largest[name] = max(largest[name], seen if seen == seen else np.inf)
    return largest
