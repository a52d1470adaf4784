"""The builders of TensorRT engines: one file each, see base.py."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

from edgeprune.errors import one_of
from edgeprune.registries import module_names

if TYPE_CHECKING:
    from edgeprune.engines.builders.base import Builder


@cache
def every() -> tuple[Builder, ...]:
    """Return the builders in the order in which they are tried."""
    files = module_names(__path__)
    found = [cast("Builder", import_module(f"{__name__}.{file}")) for file in files]
    return tuple(sorted(found, key=lambda builder: builder.ORDER))


def names() -> list[str]:
    """Return the names of the builders, in that order."""
    return [builder.NAME for builder in every()]


def get(name: str) -> Builder:
    """Return a builder.

    Raises:
        UsageError: if there is no such builder.
    """
    one_of(name, "builder", names())
    return next(builder for builder in every() if name == builder.NAME)
