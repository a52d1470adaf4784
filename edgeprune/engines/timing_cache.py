"""Where times of kernels are kept between builds, so that the next one need not take them again."""

from __future__ import annotations

import os
import re
from pathlib import Path

from edgeprune.engines.architecture import digits
from edgeprune.engines.choose import Choice
from edgeprune.errors import OutputError
from edgeprune.files import check_output_file
from edgeprune.machine import detect

FOLDER = "tensorrt-timing"


def place(choice: Choice, wanted: Path | None) -> Path | None:
    """Return the file to use: the one asked for, or one in the user's cache directory.

    Times are those of one GPU and one version, so the name has both. None where the builder keeps
    none, the cache is off (EDGEPRUNE_CACHE=off), or the directory cannot be written.

    Raises:
        OutputError: if the file that was asked for cannot be written.
    """
    if wanted is not None:
        check_output_file(wanted)
        return wanted
    from edgeprune.domains.cache import DIRECTORY, OFF, user_cache

    named = os.environ.get(DIRECTORY) or ""
    if not choice.found.timing_cache or named.lower() == OFF:
        return None
    root = Path(named).expanduser() if named else user_cache()
    gpu = "-".join([*_gpu_words(), f"sm{digits(choice.sm)}" if choice.sm else "gpu"])
    path = root / FOLDER / f"{choice.builder.FLAVOUR}-{choice.found.version}-{gpu}.cache"
    try:
        check_output_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
    except (OutputError, OSError):
        return None
    return path


def _gpu_words() -> list[str]:
    """Return the name of this machine's GPU in words that a file name can have."""
    gpus = detect().gpus
    return re.findall(r"[a-z0-9]+", gpus[0].name.lower()) if gpus else []
