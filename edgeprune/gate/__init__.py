"""The regression check: measurements against a baseline, accuracy and size against limits."""

from __future__ import annotations

from edgeprune.gate.check import check
from edgeprune.gate.limits import Limits

__all__ = ["Limits", "check"]
