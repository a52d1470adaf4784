"""What builders that only know the GPU at hand ask of this machine."""

from __future__ import annotations

from edgeprune.engines.architecture import digits
from edgeprune.errors import UsageError


def only_this_gpu(name: str, sm: str | None, here: str | None) -> str | None:
    """Return this machine's architecture, None if nothing tells.

    Raises:
        UsageError: if another one was asked for, or nobody can tell whether it is another.
    """
    if sm is None or sm == here:
        return here
    if here is None:
        raise UsageError(
            f"{name} builds for the GPU at hand, and nothing here tells its architecture;"
            f" --sm {digits(sm)} cannot be promised",
            hint="leave --sm away; --builder tensorrt-rtx builds for an architecture by name",
        )
    raise UsageError(
        f"{name} builds for the GPU at hand, of architecture {digits(here)}; --sm {digits(sm)} was"
        " asked for",
        hint="build on a machine with that GPU; --builder tensorrt-rtx builds for one by name",
    )


def jetpack_machine() -> bool:
    """Tell whether this is a Jetson, where TensorRT comes with JetPack."""
    from edgeprune.machine import detect

    return detect().board is not None
