"""Energy of the timed calls: one file per source, see base.py.

Of the sources that count for a device, the first by name that can be read is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from edgeprune.benchmarking.energy.base import Meter, Reading, SourceModule, TellingMeter
from edgeprune.errors import UnavailableError
from edgeprune.registries import module_names


@dataclass(frozen=True)
class Energy:
    """The source that is read, and what it counts; or why there is none."""

    source: str | None = None
    counts: str | None = None
    reason: str | None = None
    meter: Meter | None = None

    @property
    def job(self) -> dict[str, Any] | None:
        """What the measuring process needs, as JSON."""
        return {"source": self.source, "spec": self.meter.spec} if self.meter else None

    @property
    def facts(self) -> dict[str, str | None]:
        """What stands beside the results."""
        return {"source": self.source, "counts": self.counts, "reason": self.reason}

    def seen(self) -> dict[str, Any]:
        """Return what else the source has seen so far, under its name; empty if nothing."""
        if self.source is None or not isinstance(self.meter, TellingMeter):
            return {}
        return {self.source: self.meter.summary()}


@contextmanager
def metered(device: str, root: Path = Path("/")) -> Iterator[Energy]:
    """Open the source for ``device`` (``cpu`` or ``cuda``); it is closed with the block."""
    with ExitStack() as stack:
        yield _open(stack, device, root)


def reader(job: dict[str, Any] | None) -> Callable[[], Reading] | None:
    """Return what takes a reading in the measuring process, None if there is no source."""
    return _module(job["source"]).reader(job["spec"]) if job is not None else None


def _open(stack: ExitStack, device: str, root: Path) -> Energy:
    reasons = []
    for name in module_names(__path__):
        module = _module(name)
        if device not in module.DEVICES:
            continue
        try:
            meter = stack.enter_context(module.open_meter(root))
        except UnavailableError as error:
            reasons.append(f"{name}: {error}")
        else:
            return Energy(source=name, counts=module.COUNTS, meter=meter)
    return Energy(reason="; ".join(reasons) or f"no source counts for {device}")


def _module(name: str) -> SourceModule:
    return cast("SourceModule", import_module(f"{__name__}.{name}"))
