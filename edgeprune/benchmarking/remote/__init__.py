"""Measuring on another machine over ssh: see docs/remote.md."""

from edgeprune.benchmarking.remote.bench import bench_remote
from edgeprune.benchmarking.remote.login import Login
from edgeprune.benchmarking.remote.session import Limits
from edgeprune.benchmarking.remote.settings import Settings

__all__ = ["Limits", "Login", "Settings", "bench_remote"]
