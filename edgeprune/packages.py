"""Finding files inside installed packages, edgeprune's own among them, without importing them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from edgeprune.errors import UnavailableError


@dataclass(frozen=True)
class InstalledPackage:
    """Where a package lies, and which version of which distribution it is."""

    distribution: str
    version: str
    path: Path


def find_package(module: str, distribution: str, extra: str) -> InstalledPackage:
    """Find an installed package by its module name; nothing of it is run.

    Raises:
        UnavailableError: if it is not installed, with the extra of edgeprune that brings it.
    """
    spec = importlib.util.find_spec(module)
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UnavailableError(
            f"the package {distribution!r} is not installed",
            hint=f"pip install 'edgeprune[{extra}]'",
        )
    return InstalledPackage(
        distribution, version, Path(next(iter(spec.submodule_search_locations)))
    )


def shipped_directory(name: str) -> Path:
    """Return where files lie that come with edgeprune: in the installed package or the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name
