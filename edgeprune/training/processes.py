"""One process, or several that each take a share of every batch.

Several are started by ``torchrun`` or ``accelerate launch`` and joined by Accelerate, which is
imported only then. Rank r of n takes the images r, r + n, r + 2n, ... of each batch; gradients
are averaged over the ranks. Only the main process (rank 0) writes files and shows progress.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from edgeprune.errors import EdgepruneError, PeerError, UnavailableError, UsageError
from edgeprune.training.settings import FinetuneSettings

T = TypeVar("T")
Predictor = Callable[[torch.Tensor], torch.Tensor]

# How long one process may keep the others waiting: reading the images can take long. A process
# that ends is noticed at once.
PATIENCE = timedelta(hours=6)
LAUNCHER_ANSWERS = timedelta(seconds=10)
# Keeps the random numbers of the ranks apart; rank 0 draws what a single process would.
SEED_STEP = 1_000_000_007
_LOST = ("gloo", "nccl", "Connection closed by peer", "Connection reset by peer")


class Processes:
    """A run of one process: nothing is shared, nobody is waited for.

    Attributes:
        rank: which process this is, from 0.
        count: how many there are.
    """

    rank = 0
    count = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """Which images of a batch this process takes."""
        return slice(self.rank, None, self.count)

    @property
    def seed_offset(self) -> int:
        """What is added to the seed of random numbers that belong to one image."""
        return self.rank * SEED_STEP

    def device(self, device: torch.device) -> torch.device:
        """Return the device of that type that this process computes on."""
        return device

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return ``module`` with gradients that are averaged over the processes."""
        return module

    def mean(self, value: float) -> float:
        """Return the mean of ``value`` over the processes."""
        return value

    def from_main(self, make: Callable[[], T]) -> T:
        """Return or raise what ``make`` does in the main process; it is called there only."""
        return make()

    def predictor(self, predict: Predictor) -> Predictor:
        """Return ``predict`` with the images of every batch shared among the processes."""
        return predict

    @contextmanager
    def peers(self) -> Iterator[None]:
        """Raise PeerError where the block fails because another process has ended."""
        yield


class _SeveralProcesses(Processes):
    """The same over Accelerate."""

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self.rank = accelerator.process_index
        self.count = accelerator.num_processes

    def device(self, device: torch.device) -> torch.device:
        found: torch.device = self._accelerator.device
        return device if device.type == "cpu" else found

    def wrap(self, module: nn.Module) -> nn.Module:
        with self.peers():
            wrapped: nn.Module = self._accelerator.prepare_model(module)
        return wrapped

    def mean(self, value: float) -> float:
        total = torch.tensor(value, dtype=torch.float64, device=self._accelerator.device)
        with self.peers():
            distributed.all_reduce(total)
        return total.item() / self.count

    def from_main(self, make: Callable[[], T]) -> T:
        from accelerate.utils import broadcast_object_list

        outcome: list[Any] = [None]
        if self.is_main:
            try:
                outcome = [(make(), None)]
            except EdgepruneError as error:
                outcome = [(None, error)]
        with self.peers():
            broadcast_object_list(outcome)
        value, failure = outcome[0]
        if failure is not None:
            raise failure
        made: T = value
        return made

    def predictor(self, predict: Predictor) -> Predictor:
        from accelerate.utils import gather_object

        def shared(images: torch.Tensor) -> torch.Tensor:
            mine = images[self.share]
            with self.peers():
                parts = gather_object([predict(mine) if len(mine) else None])
            logits: torch.Tensor = parts[0].new_empty(len(images), parts[0].shape[1])
            for rank, part in enumerate(parts):
                if part is not None:
                    logits[rank :: self.count] = part
            return logits

        return shared

    @contextmanager
    def peers(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, distributed.DistError) or any(
                word in str(error) for word in _LOST
            ):
                raise PeerError(
                    f"another of the {self.count} processes has ended,"
                    f" which process {self.rank} cannot go on without",
                    hint="--resume continues from the last state that was written",
                ) from error
            raise


SINGLE = Processes()


def open_processes(settings: FinetuneSettings) -> Processes:
    """Join the processes that the launcher started, if it started several.

    Raises:
        UnavailableError: if Accelerate is not installed, a process has no GPU of its own, or
            what was launched is no data parallel training.
        UsageError: if the batch size does not divide evenly, or the launcher was told another
            precision.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return SINGLE
    if "LOCAL_RANK" not in os.environ:
        raise UsageError(
            f"WORLD_SIZE says {count} processes, but LOCAL_RANK is not set",
            hint="start them with torchrun or accelerate launch",
        )
    _check(settings, count, int(os.environ["LOCAL_RANK"]))
    return _join(settings.device)


def reports_errors() -> bool:
    """Tell whether this process is the one that shows its error: the first that has one.

    The launcher keeps the count, so that it outlives every process; the main process speaks where
    there is none.
    """
    is_main = os.environ.get("RANK", "0") == "0"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return is_main
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store = distributed.TCPStore(host, port, timeout=LAUNCHER_ANSWERS)  # type: ignore[attr-defined]
        return bool(store.add(f"edgeprune/errors/{attempt}", 1) == 1)
    except RuntimeError:
        return is_main


def _check(settings: FinetuneSettings, count: int, local_rank: int) -> None:
    if settings.mixup:
        raise UsageError(
            f"mixup {settings.mixup:g} mixes the images of a whole batch; {count} processes each"
            " have a share of it only",
            hint="leave out --mixup, or use one process",
        )
    if settings.batch_size % count:
        raise UsageError(
            f"batch_size {settings.batch_size} does not divide over {count} processes",
            hint="it is that of all processes together",
        )
    if settings.device == "cuda" and local_rank >= torch.cuda.device_count():
        raise UnavailableError(
            f"process {local_rank} of this host has no GPU of its own:"
            f" torch finds {torch.cuda.device_count()}"
        )
    told = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if told not in ("no", settings.precision):
        raise UsageError(
            f"accelerate launch was told mixed precision {told!r},"
            f" edgeprune {settings.precision!r}",
            hint=f"give --precision {told} to edgeprune, or --mixed_precision no to the launcher",
        )


@cache
def _join(device: str) -> Processes:
    try:
        from accelerate import Accelerator, DistributedType, InitProcessGroupKwargs
    except ImportError as error:
        raise UnavailableError(
            f"several processes need Accelerate ({error})",
            hint="pip install 'edgeprune[distributed]'",
        ) from None
    accelerator = Accelerator(
        cpu=device == "cpu",
        # Precision is the trainer's own affair; None would take the launcher's.
        mixed_precision="no",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    if accelerator.distributed_type not in (DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise UnavailableError(
            f"accelerate launch was told {accelerator.distributed_type.value!r};"
            " every process here holds the whole model (MULTI_GPU, or MULTI_CPU)"
        )
    return _SeveralProcesses(accelerator)
