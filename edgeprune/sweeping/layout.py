"""Where everything of a sweep lies below its directory."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeprune.pretrained import weights_names
from edgeprune.sweeping.spec import ModelSpec

SPEC_FILE = "sweep.toml"
LOCK_FILE = ".lock"
RESULT_FILE = "trial.json"
MODEL = "model"
LOGS = "logs"
TEACHERS = "teachers"
WORK = "work"


@contextmanager
def claim(root: Path) -> Iterator[bool]:
    """Hold the directory of a sweep, and tell whether that worked: another may be writing there.

    The lock goes with this process, whatever ends it.
    """
    with (root / LOCK_FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def is_under_way(root: Path) -> bool:
    """Tell whether a sweep is writing into ``root``."""
    try:
        with (root / LOCK_FILE).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no lock, or none on this file system
        return False
    return False


def trial_directory(root: Path, identity: str) -> Path:
    """Return the directory of a finished trial."""
    return root / "trials" / identity


def is_done(root: Path, identity: str) -> bool:
    """Tell whether a trial is finished: its model and its result are there, and whole."""
    directory = trial_directory(root, identity)
    try:
        json.loads((directory / RESULT_FILE).read_bytes())
    except (OSError, ValueError):
        return False
    return (directory / MODEL).is_dir()


def work_directory(root: Path, identity: str) -> Path:
    """Return the directory of a trial that is under way."""
    return root / WORK / identity


def weights_file(root: Path, model: ModelSpec) -> Path | None:
    """Return the file that a dense model starts from; None if it has none.

    Weights by name are made ready once per sweep and image size.
    """
    if model.weights is None:
        return None
    if model.weights in weights_names():
        return root / "weights" / f"{model.weights}-{model.img_size or 'default'}.safetensors"
    return Path(model.weights)
