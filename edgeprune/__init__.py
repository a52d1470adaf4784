"""edgeprune: prune vision transformers, fine-tune them, export them, measure what it bought."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Imported on first use: ``edgeprune --help`` must not load torch.
_EXPORTS = {
    "bench": "edgeprune.benchmarking",
    "check": "edgeprune.gate",
    "evaluate": "edgeprune.training",
    "export": "edgeprune.exporting",
    "finetune": "edgeprune.training",
    "load_model": "edgeprune.loading",
    "open_dataset": "edgeprune.domains",
    "prune": "edgeprune.pruning",
    "report": "edgeprune.reporting",
    "save": "edgeprune.artifact",
    "sweep": "edgeprune.sweeping",
}

__all__ = sorted([*_EXPORTS, "__version__"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # slow to import

        return version("edgeprune")
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'edgeprune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
