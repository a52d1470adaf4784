"""The seam between a sweep and what runs its trials: this machine, or a cluster."""

from __future__ import annotations

import errno
import json
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeprune.errors import DiskFullError, EdgepruneError
from edgeprune.sweeping.results import TrialResult
from edgeprune.sweeping.trials import Trial


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: with a result, with an error, or with the loss of its worker.

    ``fatal`` marks an error that every other trial would meet too, such as a full disk.
    """

    id: str
    result: TrialResult | None = None
    error: str | None = None
    fatal: bool = False
    lost: bool = False


class Executor(Protocol):
    """Runs trials; ``slots`` is how many at a time."""

    slots: int

    def submit(self, trial: Trial) -> None:
        """Start a trial; there are never more under way than ``slots``."""
        ...

    def wait(self) -> Outcome:
        """Wait until one of the trials under way ends."""
        ...

    def close(self) -> None:
        """Stop what is under way; it can be gone on with later."""
        ...


@dataclass(frozen=True)
class Site:
    """What every trial of a sweep shares: its directory, its data, compute threads of each."""

    root: Path
    data: str
    threads: int

    def to_json(self) -> str:
        """Return the site as JSON text."""
        return json.dumps({"root": str(self.root), "data": self.data, "threads": self.threads})

    @classmethod
    def from_json(cls, text: str) -> Site:
        """Read what :meth:`to_json` wrote."""
        facts = json.loads(text)
        return cls(Path(facts["root"]), facts["data"], facts["threads"])


def get_ready(site_json: str) -> None:
    """Import what trials need, which takes seconds, and set the number of threads."""
    import torch

    from edgeprune.sweeping import trial_run  # noqa: F401

    torch.set_num_threads(Site.from_json(site_json).threads)


def attempt(trial_json: str, site_json: str) -> str:
    """Run a trial in this process, and return its outcome; both as JSON text."""
    from edgeprune.sweeping.trial_run import run_trial

    get_ready(site_json)
    site = Site.from_json(site_json)
    trial = Trial.model_validate_json(trial_json)
    try:
        result = run_trial(trial, site.root, site.data, site.threads)
    except Exception as error:
        print(f"{trial.id}:", file=sys.stderr)
        traceback.print_exc()
        return json.dumps({"error": sentence(error), "fatal": is_fatal(error)})
    return json.dumps({"result": result.to_json()})


def outcome(identity: str, text: str) -> Outcome:
    """Read what :func:`attempt` returned."""
    facts = json.loads(text)
    if "error" in facts:
        return Outcome(identity, error=facts["error"], fatal=facts["fatal"])
    return Outcome(identity, result=TrialResult.model_validate_json(facts["result"]))


def sentence(error: BaseException) -> str:
    """Say in one line what went wrong."""
    text = " ".join(str(error).split())
    if isinstance(error, EdgepruneError):
        return f"{text} ({error.hint})" if error.hint else text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_fatal(error: BaseException) -> bool:
    """Tell whether every other trial would meet the same error."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or isinstance(error, DiskFullError)
