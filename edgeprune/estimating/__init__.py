"""Estimating latencies of devices that are not here, from their profiles."""

from edgeprune.estimating.estimate import estimate

__all__ = ["estimate"]
