"""Engine files with the record beside them, and whether one fits this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeprune.engines.architecture import digits
from edgeprune.errors import EngineError, UsageError
from edgeprune.files import sha256
from edgeprune.schema import EngineFacts, EngineRecord, read_document

SUFFIX = ".engine"
NAMES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}


def record_path(engine: Path) -> Path:
    """Return the file that describes an engine: ``model.fp16.engine.json``."""
    return engine.with_name(engine.name + ".json")


def read_record(engine: Path) -> EngineRecord:
    """Return what is known of an engine.

    Raises:
        EngineError: if it or its record is missing, or it is not the file that was recorded.
    """
    if not engine.is_file():
        raise EngineError(f"engine file {str(engine)!r} does not exist")
    described = record_path(engine)
    if not described.is_file():
        raise EngineError(
            f"{described.name!r} is not beside {str(engine)!r}; it says what the engine is for",
            hint="edgeprune export --tensorrt writes both; copy both",
        )
    record = read_document(described, EngineRecord, EngineError)
    if sha256(engine) != record.sha256:
        raise EngineError(f"{str(engine)!r} is not the engine that {described.name!r} describes")
    return record


def check_batch(record: EngineRecord, batch: int) -> None:
    """Check that an engine takes so many images at once. Raises UsageError."""
    profile = record.built.profile
    if not profile.min <= batch <= profile.max:
        accepted = f"to {profile.max} are" if profile.varies else "is"
        raise UsageError(
            f"a batch of {batch} is not accepted by {record.file!r}; {profile.min} {accepted}"
        )


@dataclass(frozen=True)
class Here:
    """What a machine has to run engines: versions of TensorRT by flavour, and its GPU.

    A version is empty until TensorRT is loaded, where its package does not tell. ``sm`` is the
    GPU's architecture, such as ``8.6``; None if nothing tells.
    """

    versions: Mapping[str, str]
    sm: str | None


def misfit(built: EngineFacts, here: Here) -> str | None:
    """Say why an engine does not fit a machine; None if it does.

    TensorRT loads engines of its own flavour and version only, on the architecture that they were
    built for.
    """
    wanted = f"{NAMES[built.flavour]} {built.tensorrt}"
    version = here.versions.get(built.flavour)
    if version is None:
        others = [f"{NAMES[flavour]} {own}".strip() for flavour, own in here.versions.items()]
        return f"it is for {wanted}; this machine has {', '.join(others) or 'no TensorRT'}"
    if version and not _same(built.tensorrt, version):
        return f"it is for {wanted}; this machine has {NAMES[built.flavour]} {version}"
    if built.sm is not None and here.sm is not None and built.sm != here.sm:
        return (
            f"it is for GPUs of architecture {digits(built.sm)};"
            f" this machine's is {digits(here.sm)}"
        )
    return None


def _same(built: str, here: str) -> bool:
    """Compare versions as far as both go: trtexec names three parts, Python four."""
    one, other = (re.findall(r"\d+", text) for text in (built, here))
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared] and shared >= 2
