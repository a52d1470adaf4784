"""GPU architectures by their compute capability, as in the device profiles: ``8.6``."""

from __future__ import annotations

import re

from edgeprune.benchmarking.nvml import first_visible_gpu
from edgeprune.errors import UsageError


def parse(text: str) -> str:
    """Return ``8.6`` for ``86``, ``8.6``, ``sm86`` or ``sm_86``.

    Raises:
        UsageError: if it is no compute capability.
    """
    found = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", text.strip().lower())
    if found is None:
        raise UsageError(
            f"architecture {text!r} is not accepted; a compute capability such as 87 or 8.7 is"
        )
    return f"{int(found[1])}.{found[2]}"


def digits(sm: str) -> str:
    """Return ``86`` for ``8.6``."""
    return sm.replace(".", "")


def local() -> str | None:
    """Return the architecture of this machine's GPU; None without one, or if nothing tells."""
    from edgeprune.devices import list_profiles
    from edgeprune.machine import detect

    machine = detect()
    if machine.gpus:
        return machine.gpus[_first_visible(len(machine.gpus))].sm
    profiles = {profile.name: profile for profile in list_profiles()}
    return profiles[machine.profile].sm if machine.board else None


def _first_visible(gpus: int) -> int:
    """Return which GPU, as the driver counts, CUDA calls 0."""
    first = first_visible_gpu()
    return int(first) if first.isdigit() and int(first) < gpus else 0


def jetsons(sm: str) -> list[str]:
    """Return the titles of the Jetson boards with this architecture."""
    from edgeprune.devices import list_profiles

    return [own.title for own in list_profiles() if own.kind == "jetson" and own.sm == sm]


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


def is_jetson() -> bool:
    """Tell whether this is a Jetson, where TensorRT comes with JetPack."""
    from edgeprune.machine import detect

    return detect().board is not None
