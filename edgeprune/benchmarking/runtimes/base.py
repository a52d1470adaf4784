"""What a runtime has to offer: one module per runtime, found by its file name.

A runtime module has three names, and imports its library inside ``load`` only, so that the
process that plans a bench can read the other two:

- ``FORMAT``: what it loads, ``"onnx"`` or ``"engine"`` (a file) or ``"model"`` (an artifact or a
  timm name);
- ``PACKAGES``: the distributions whose versions stand beside its results;
- ``load(job)``: load the model of a job on its device, and return a :class:`Session`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Job:
    """What one measuring process does: one model, one runtime, one device, one batch size.

    ``source`` is what the runtime loads; ``dense`` holds the fields of DenseOptions for a timm
    name; ``name`` is what messages call the model.
    """

    name: str
    runtime: str
    source: str
    device: str
    batch: int
    threads: int
    seed: int
    dense: dict[str, Any] | None = None


@dataclass(frozen=True)
class Loaded:
    """What is known of a model once it is loaded; None where its file does not say."""

    img_size: int
    precision: str
    macs: int | None = None
    params: int | None = None
    weights_bytes: int | None = None
    fingerprint: str | None = None


class Session(Protocol):
    """A loaded model with its input in place."""

    @property
    def loaded(self) -> Loaded:
        """What is known of the model."""
        ...

    def run(self) -> None:
        """Run one batch; return when its result is there."""
        ...

    def device_peak_bytes(self) -> int | None:
        """Return the peak memory on the device, None on the CPU."""
        ...


class RuntimeModule(Protocol):
    """A module in this package, see above."""

    FORMAT: str
    PACKAGES: tuple[str, ...]

    def load(self, job: Job) -> Session:
        """Load the model of ``job``. Raises ModelError, UsageError, UnavailableError."""
        ...
