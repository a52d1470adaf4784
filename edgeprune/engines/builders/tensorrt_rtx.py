"""TensorRT-RTX: builds ahead of time for a named architecture, also where there is no GPU."""

from __future__ import annotations

import dataclasses
import platform

from edgeprune.engines import child
from edgeprune.engines.architecture import digits, jetsons
from edgeprune.engines.builders.base import Built, Found, Request
from edgeprune.errors import UnavailableError, UsageError
from edgeprune.schema import Flavour

NAME = "tensorrt-rtx"
FLAVOUR: Flavour = "tensorrt_rtx"
ORDER = 3
MODULE = "tensorrt_rtx"
X86 = ("x86_64", "AMD64")


def find() -> Found:
    """Try to make a builder."""
    try:
        return child.probe(MODULE)
    except UnavailableError as error:
        # there are no packages for other processors
        fix = "pip install 'edgeprune[tensorrt]'" if platform.machine() in X86 else None
        return Found(None, missing=str(error), fix=fix)


def target(found: Found, sm: str | None, here: str | None) -> str | None:
    """Return the architecture that was asked for, or this machine's.

    Raises:
        UsageError: if there is neither, or it is not one of those that can be built for.
    """
    wanted = sm or here
    accepted = ", ".join(digits(own) for own in found.architectures)
    if wanted is None:
        raise UsageError(
            f"there is no GPU here: {NAME} needs to be told for which one to build,"
            f" with --sm and one of {accepted}"
        )
    if wanted in found.architectures:
        return wanted
    boards = jetsons(wanted)
    raise UsageError(
        f"{NAME} {found.version} does not build for architecture {digits(wanted)}; accepted:"
        f" {accepted}",
        hint=f"that is a Jetson's ({boards[0]}): export there, with --builder trtexec or tensorrt"
        if boards
        else "on a machine with that GPU, --builder tensorrt or trtexec builds for it",
    )


def build(found: Found, request: Request) -> Built:
    """Build in a process of its own."""
    built = child.build(MODULE, request)
    return dataclasses.replace(built, sm=request.sm)
