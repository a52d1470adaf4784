"""TensorRT 8.6, 10 and 11 through Python: builds for the GPU at hand."""

from __future__ import annotations

from edgeprune.engines import child
from edgeprune.engines.architecture import is_jetson, only_this_gpu
from edgeprune.engines.builders.base import Built, Found, Request
from edgeprune.errors import UnavailableError
from edgeprune.schema import Flavour

NAME = "tensorrt"
FLAVOUR: Flavour = "tensorrt"
ORDER = 1
MODULE = "tensorrt"


def find() -> Found:
    """Try to make a builder, which needs a GPU."""
    try:
        return child.probe(MODULE)
    except UnavailableError as error:
        fix = "pip install 'edgeprune[nvidia]' on a machine with an NVIDIA GPU"
        if is_jetson():
            fix = (
                "sudo apt-get install python3-libnvinfer, and a virtual environment made with"
                " --system-site-packages"
            )
        return Found(None, missing=str(error), fix=fix)


def target(found: Found, sm: str | None, here: str | None) -> str | None:
    """Return this machine's architecture. Raises UsageError if another was asked for."""
    return only_this_gpu(NAME, sm, here)


def build(found: Found, request: Request) -> Built:
    """Build in a process of its own."""
    return child.build(MODULE, request)
