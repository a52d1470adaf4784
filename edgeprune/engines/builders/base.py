"""What a builder of engines has to offer: one module per builder, found by its file.

A builder module has these names, and imports its library in a process of its own only:

- ``NAME``: what a person calls it;
- ``FLAVOUR``: which TensorRT loads its engines;
- ``ORDER``: builders that are not chosen by name are tried from the lowest on;
- ``find()``: whether it works here;
- ``target(found, sm, here)``: the architecture that it would build for;
- ``build(found, request)``: build.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from edgeprune.schema import Flavour


@dataclass(frozen=True)
class Found:
    """Whether a builder works here.

    Attributes:
        version: of TensorRT; None if the builder does not work here.
        missing: why it does not.
        fix: how to get it.
        architectures: what it builds for; empty where that is the GPU at hand.
        program: path of its program, where it is one.
        options: the options that its program knows.
        timing_cache: whether it keeps the times of kernels.
    """

    version: str | None
    missing: str = ""
    fix: str | None = None
    architectures: tuple[str, ...] = ()
    program: str | None = None
    options: frozenset[str] = frozenset()
    timing_cache: bool = True


@dataclass(frozen=True)
class Request:
    """What to build.

    Attributes:
        onnx: path of the ONNX file.
        engine: path to write.
        input: name of the one input.
        shape: its shape; the first size is None for a batch that varies.
        batches: smallest, tuned for and largest batch.
        precision: of the ONNX file.
        sm: architecture to build for; None means that of the GPU at hand.
        workspace_mb: limit of scratch memory, or None.
        timing_cache: path, or None for none.
    """

    onnx: str
    engine: str
    input: str
    shape: tuple[int | None, ...]
    batches: tuple[int, int, int]
    precision: str
    sm: str | None = None
    workspace_mb: float | None = None
    timing_cache: str | None = None

    def shapes(self) -> list[tuple[int, ...]]:
        """Return the smallest, best and largest shape of the input."""
        rest = tuple(size for size in self.shape[1:] if size is not None)
        return [(batch, *rest) for batch in self.batches]


@dataclass(frozen=True)
class Built:
    """What was built.

    Attributes:
        version: of TensorRT.
        strongly_typed: whether every layer has the precision of the ONNX file.
        layers: what the inspector says of each; None if the engine cannot be loaded here.
        sm: architecture, where the builder tells.
        warnings: for a person.
    """

    version: str
    strongly_typed: bool
    layers: list[Any] | None = None
    sm: str | None = None
    warnings: list[str] = field(default_factory=list)


class Builder(Protocol):
    """A module in this package, see above."""

    NAME: str
    FLAVOUR: Flavour
    ORDER: int

    def find(self) -> Found:
        """Say whether it works here."""
        ...

    def target(self, found: Found, sm: str | None, here: str | None) -> str | None:
        """Return the architecture to build for, given the one asked for and this machine's.

        Raises:
            UsageError: if it cannot build for what was asked for.
        """
        ...

    def build(self, found: Found, request: Request) -> Built:
        """Build an engine.

        Raises:
            EngineError: if the graph is refused, or nothing comes of it.
            OutputError: if the engine cannot be written.
            UnavailableError: if the builder dies.
        """
        ...
