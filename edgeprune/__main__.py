"""``python -m edgeprune``."""

from edgeprune.cli import run

# A guard, since child processes that are spawned import this module again.
if __name__ == "__main__":
    run()
