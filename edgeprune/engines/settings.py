"""What can be chosen about an engine, checked as soon as it is chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from edgeprune.engines import architecture, builders
from edgeprune.errors import UsageError, one_of
from edgeprune.schema import BatchProfile

DEFAULT_MAX_BATCH = 8
# Engines are tuned for one size; on the devices that this is for, images come one by one.
DEFAULT_OPT_BATCH = 1


@dataclass(frozen=True)
class EngineSettings:
    """How to build engines.

    Attributes:
        builder: its name; None means the first that works here.
        sm: architecture of the GPU that they are for, such as ``8.6``; None means this machine's.
        max_batch: largest batch; None means 8.
        opt_batch: the batch that they are tuned for; None means 1.
        workspace_mb: limit of TensorRT's scratch memory; None means TensorRT's own.
        timing_cache: file with the times of kernels, made if absent; None means one in the user's
            cache directory.

    Raises:
        UsageError: if a value is not accepted.
    """

    builder: str | None = None
    sm: str | None = None
    max_batch: int | None = None
    opt_batch: int | None = None
    workspace_mb: float | None = None
    timing_cache: Path | None = None

    def __post_init__(self) -> None:
        if self.builder is not None:
            one_of(self.builder, "builder", builders.names())
        if self.sm is not None:
            object.__setattr__(self, "sm", architecture.parse(self.sm))
        size = self.workspace_mb
        if size is not None and not (math.isfinite(size) and size > 0):
            raise UsageError(f"workspace {size:g} is not accepted; megabytes above 0 are")
        self.profile(None)

    def profile(self, batch: int | None) -> BatchProfile:
        """Return the batch sizes of an engine; ``batch`` is the only one, or None.

        Raises:
            UsageError: if they contradict each other.
        """
        if batch is not None:
            if self.max_batch is not None or self.opt_batch is not None:
                raise UsageError(
                    f"--batch {batch} fixes the batch size; leave --max-batch and --opt-batch away"
                )
            return BatchProfile(min=batch, opt=batch, max=batch)
        most = DEFAULT_MAX_BATCH if self.max_batch is None else self.max_batch
        tuned = DEFAULT_OPT_BATCH if self.opt_batch is None else self.opt_batch
        if most < 1:
            raise UsageError(f"max-batch {most} is not accepted; 1 and more are")
        if not 1 <= tuned <= most:
            raise UsageError(f"opt-batch {tuned} is not accepted; 1 to max-batch ({most}) are")
        return BatchProfile(min=1, opt=tuned, max=most)
