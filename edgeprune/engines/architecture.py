"""GPU architectures by their compute capability, written as in the device profiles: ``8.6``."""

from __future__ import annotations

import re

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
        return machine.gpus[0].sm
    profiles = {profile.name: profile for profile in list_profiles()}
    return profiles[machine.profile].sm if machine.board else None


def jetsons(sm: str) -> list[str]:
    """Return the titles of the Jetson boards with this architecture."""
    from edgeprune.devices import list_profiles

    return [own.title for own in list_profiles() if own.kind == "jetson" and own.sm == sm]
