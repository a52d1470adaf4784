"""``python -m edgeprune``."""

from edgeprune.cli import run

run()
