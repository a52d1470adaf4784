"""Which builder is used: the one that was asked for, or the first that works and builds for it."""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.engines import architecture, builders
from edgeprune.engines.builders.base import Builder, Found
from edgeprune.engines.settings import EngineSettings
from edgeprune.errors import UnavailableError, UsageError


@dataclass(frozen=True)
class Choice:
    """A builder that works here, why it is used, and the architecture that it builds for."""

    builder: Builder
    found: Found
    sm: str | None
    why: str


def choose(settings: EngineSettings) -> Choice:
    """Choose a builder.

    Raises:
        UnavailableError: if none works here, or the one that was asked for does not.
        UsageError: if those that work do not build for the architecture that was asked for.
    """
    here = architecture.local()
    if settings.builder is not None:
        builder = builders.get(settings.builder)
        found = builder.find()
        if found.version is None:
            raise UnavailableError(
                f"the builder {builder.NAME!r} is not available here: {found.missing}",
                hint=found.fix,
            )
        return _choice(builder, found, settings, here, "asked for")
    passed: list[str] = []
    refusal: UsageError | None = None
    fix: str | None = None
    for builder in builders.every():
        found = builder.find()
        if found.version is None:
            passed.append(f"{builder.NAME}: {found.missing}")
            fix = found.fix or fix
            continue
        try:
            why = "; ".join(["the first that works here", *passed])
            return _choice(builder, found, settings, here, why)
        except UsageError as error:
            passed.append(f"{builder.NAME}: {error}")
            refusal = error
    if refusal is not None:
        raise refusal
    raise UnavailableError(
        f"no builder of TensorRT engines works here ({'; '.join(passed)})", hint=fix
    )


def _choice(
    builder: Builder, found: Found, settings: EngineSettings, here: str | None, why: str
) -> Choice:
    sm = builder.target(found, settings.sm, here)
    if settings.timing_cache is not None and not found.timing_cache:
        raise UsageError(f"{builder.NAME} keeps no timing cache; leave --timing-cache away")
    return Choice(builder, found, sm, why)
