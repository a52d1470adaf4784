"""Measuring models on this machine: latency, throughput, memory, and speed-up over a baseline.

Names are imported on first use: the process that measures must not load more than its runtime.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprune.benchmarking.candidates import Candidate
    from edgeprune.benchmarking.harness import bench

__all__ = ["Candidate", "bench"]

_EXPORTS = {
    "Candidate": "edgeprune.benchmarking.candidates",
    "bench": "edgeprune.benchmarking.harness",
}


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
