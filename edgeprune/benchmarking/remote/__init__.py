"""Measuring on another machine over ssh: see docs/remote.md."""

from edgeprune.benchmarking.remote.bench import bench_remote
from edgeprune.benchmarking.remote.session import Limits
from edgeprune.benchmarking.remote.settings import Settings
from edgeprune.benchmarking.remote.ssh import Login

__all__ = ["Limits", "Login", "Settings", "bench_remote"]
