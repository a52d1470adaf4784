"""What a runtime has to offer: one module per runtime, found by its file name.

A runtime module has three names, and imports its library inside ``load`` only, so that the
process that plans a bench can read the other two:

- ``FORMAT``: what it loads, ``"onnx"`` or ``"engine"`` (a file) or ``"model"`` (an artifact or a
  timm name);
- ``PACKAGES``: the distributions whose versions stand beside its results;
- ``load(job)``: load the model of a job on its device, and return a :class:`Session`.

A runtime that is a program of its own, which times its calls itself, has in place of ``load`` what
:class:`ProgramModule` lists.

One that can tell how long each operator of a call takes has ``profiled`` too, see
:class:`Profiling`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from edgeprune.errors import UsageError

if TYPE_CHECKING:
    from edgeprune.benchmarking.rounds import Rhythm
    from edgeprune.benchmarking.workers import Worker


@dataclass(frozen=True)
class Job:
    """What one measuring process does: one model, one runtime, one device, one batch size.

    ``source`` is what the runtime loads; ``dense`` holds the fields of DenseOptions for a timm
    name; ``name`` is what messages call the model; ``energy`` is the source that is read around the
    timed calls (see ``energy``). Calls start every ``period_s``, or each as soon as the last is
    done. ``huge_pages``: see :func:`edgeprune.benchmarking.bench`.
    """

    name: str
    runtime: str
    source: str
    device: str
    batch: int
    threads: int
    seed: int
    dense: dict[str, Any] | None = None
    energy: dict[str, Any] | None = None
    period_s: float | None = None
    huge_pages: bool = False


@contextmanager
def room_for_images(job: Job, size: int, *others: type[Exception]) -> Iterator[None]:
    """Say that a batch is too large where its images cannot be made for lack of memory.

    Args:
        job: whose images are made.
        size: pixels of a side.
        others: what a library raises when memory is short.

    Raises:
        UsageError: naming the batch and what it takes.
    """
    # To numpy, a shape beyond all memory is a wrong value or an overflow.
    short: tuple[type[Exception], ...] = (MemoryError, OverflowError, ValueError, *others)
    try:
        yield
    except short as error:
        megabytes = job.batch * 3 * size * size * 4 // 10**6
        raise UsageError(
            f"batch {job.batch} is not accepted: there is no memory for its images of {size} x"
            f" {size} pixels, {megabytes} MB; smaller ones are"
        ) from error


@dataclass(frozen=True)
class Loaded:
    """What is known of a model once it is loaded; None where its file does not say.

    ``preprocess`` has the fields of :class:`edgeprune.images.Preprocess`, and ``pixels`` where the
    model normalises images itself.
    """

    img_size: int
    precision: str
    macs: int | None = None
    params: int | None = None
    weights_bytes: int | None = None
    fingerprint: str | None = None
    preprocess: dict[str, Any] | None = None


@dataclass(frozen=True)
class Operator:
    """One operator of a call.

    Attributes:
        name: of the node, as the runtime's optimised graph calls it.
        kind: such as ``Gemm``.
        ms: its time in a call, without what noting it cost.
        written_bytes: size of its outputs.
    """

    name: str
    kind: str
    ms: float
    written_bytes: int


@dataclass(frozen=True)
class Profile:
    """The operators of a call in the order in which they ran, and how many calls were profiled.

    ``call_ms`` is a whole call while it is profiled; ``noting_ms``, what noting one operator cost,
    was taken off each, and is None where no operator tells it.
    """

    operators: Sequence[Operator]
    calls: int
    call_ms: float
    noting_ms: float | None = None


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


@runtime_checkable
class Transferring(Protocol):
    """A session whose device has memory of its own, where the data of :meth:`Session.run` lie."""

    def transfers(self) -> tuple[Callable[[], object], Callable[[], object]] | None:
        """Return what copies a batch to the device, and its result back; None on the CPU."""
        ...


class RuntimeModule(Protocol):
    """A module in this package, see above."""

    FORMAT: str
    PACKAGES: tuple[str, ...]

    def load(self, job: Job) -> Session:
        """Load the model of ``job``. Raises ModelError, UsageError, UnavailableError."""
        ...


@runtime_checkable
class ExportedFor(Protocol):
    """A module in this package for which models are exported first, which takes seconds."""

    def check_device(self, device: str) -> None:
        """Refuse a device that cannot be here before anything is exported for it.

        Whether it works shows when a model is loaded.

        Raises:
            UnavailableError, UsageError: as the module's ``load``.
        """
        ...


@runtime_checkable
class ProgramModule(Protocol):
    """A module in this package whose models are run by a program, not by a Python process.

    ``SCENARIOS`` are those that it can measure, ``RHYTHM`` says how long its rounds are.
    """

    FORMAT: str
    PACKAGES: tuple[str, ...]
    SCENARIOS: tuple[str, ...]
    RHYTHM: Rhythm

    def start(self, job: Job) -> AbstractContextManager[Worker]:
        """Return what measures a job."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return which program it is, its ``version``, and how it is run.

        Raises:
            UnavailableError: if it is not here.
        """
        ...


class ProfiledSession(Protocol):
    """A loaded model whose runtime notes what every operator takes."""

    def run(self) -> None:
        """Run one batch."""
        ...

    def read(self, skip: int) -> Profile:
        """End profiling, and return what was noted but for the first ``skip`` calls."""
        ...


@runtime_checkable
class Profiling(Protocol):
    """A module in this package whose runtime has a profiler."""

    def profiled(self, job: Job, scratch: Path) -> ProfiledSession:
        """Load the model of ``job`` on the CPU; profiles may be written to ``scratch``."""
        ...
