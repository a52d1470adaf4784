"""What a source of energy has to offer: one module per source, found by its file name.

The process that plans a bench opens a source once; the measuring process reads it right before and
right after its timed calls, which must cost next to nothing; what lies between two readings is
worked out afterwards. A module has:

- ``DEVICES``: for which devices it counts what they draw;
- ``COUNTS``: what is counted, for a person;
- ``open_meter(root)``: a context with a :class:`Meter`, or UnavailableError with the reason;
- ``reader(spec)``: in the measuring process, returns a function that takes one reading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

# Numbers that only the source itself understands.
Reading = Sequence[int]


class Meter(Protocol):
    """An open source; ``spec`` is what its reader needs, as JSON."""

    @property
    def spec(self) -> dict[str, Any]:
        """What the reader in the measuring process is made from."""
        ...

    def joules(self, before: Reading, after: Reading) -> float | None:
        """Return the energy between two readings, None if it cannot be told."""
        ...


@runtime_checkable
class TellingMeter(Protocol):
    """A meter that has seen more of the machine than its energy."""

    def summary(self) -> dict[str, Any] | None:
        """Return what it has seen since it was opened, None if that is nothing."""
        ...


class SourceModule(Protocol):
    """A module in this package, see above."""

    DEVICES: tuple[str, ...]
    COUNTS: str

    def open_meter(self, root: Path) -> AbstractContextManager[Meter]:
        """Open the source. Raises UnavailableError with the reason."""
        ...

    def reader(self, spec: dict[str, Any]) -> Callable[[], Reading]:
        """Return a function that takes one reading."""
        ...
