"""From what came back to the document of a bench."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Sequence
from typing import Any

from edgeprune.benchmarking import results, tegrastats
from edgeprune.benchmarking.remote import reply
from edgeprune.benchmarking.remote.reply import FarModel, FarResult
from edgeprune.benchmarking.remote.tasks import Task
from edgeprune.benchmarking.results import Measured
from edgeprune.benchmarking.stopping import StopRule, half_width
from edgeprune.benchmarking.trtexec import TrtexecRun
from edgeprune.errors import ModelError
from edgeprune.schema import BenchResult

_INPUT = re.compile(r"Input binding for \S+ with dimensions (\d+)x")


def make_document(
    tasks: Sequence[Task],
    result: FarResult,
    *,
    environment: dict[str, Any],
    device: str,
    threads: int,
    baseline: str | None,
    seed: int,
    rule: StopRule,
) -> BenchResult:
    """Return the ordinary document of a bench, with the far machine's environment.

    Raises:
        ModelError: if trtexec measured another batch size than was asked for.
    """
    models = [model for group in result.groups for model in group]
    samples, notes = reply.power_samples(result)
    runs, more = reply.read_logs(models)
    for task, model in zip(tasks, models, strict=True):
        check_batch(task, model)
    measured = [
        Measured(
            source=task.source,
            job=dataclasses.replace(task.job, threads=threads),
            loaded=task.loaded,
            recording=model.recording(),
            peaks=model.peaks(),
            device=device,
            energy_mj=reply.energy_mj(model, task.batch, samples),
        )
        for task, model, run in zip(tasks, models, runs, strict=True)
    ]
    left = environment["left"]
    told = _trtexec(models, runs)
    facts = environment | {
        "tegrastats": tegrastats.summary([sample for _, sample in samples]),
        "trtexec": told,
    }
    if told is not None:
        facts["versions"] = {**environment["versions"], "trtexec": told["version"]}
    notes += more
    notes += [f"an earlier run that was cut off left {path} there; remove it" for path in left]
    notes += [note for entry in measured for note in _imprecise(entry, rule, seed)]
    return results.summarise(
        measured, baseline=baseline, environment=facts, seed=seed, notes=list(dict.fromkeys(notes))
    )


def _imprecise(entry: Measured, rule: StopRule, seed: int) -> list[str]:
    """Say so where the agent's own estimate of the interval was too good."""
    if rule.precision is None or entry.recording.stopped_by != "precision":
        return []
    found = half_width(entry.recording.rounds, seed)
    if found <= rule.precision:
        return []
    return [
        f"{entry.source.label}, batch {entry.job.batch}: its median is known to {found:.1%}, not to"
        f" the {rule.precision:.1%} that were asked for"
    ]


def check_batch(task: Task, model: FarModel) -> None:
    """Check that trtexec ran the batch size that was asked for: an engine decides it itself.

    Raises:
        ModelError: naming both.
    """
    found = _INPUT.search(model.log or "")
    if found is None and model.log is not None and task.batch > 1:
        raise ModelError(
            f"trtexec does not say which batch size {task.source.label!r} ran with;"
            f" {task.batch} was asked for"
        )
    if found is not None and int(found.group(1)) != task.batch:
        raise ModelError(
            f"{task.source.label!r} ran with batch {found.group(1)}, not {task.batch}:"
            " its engine was built for that"
        )


def _trtexec(
    models: Sequence[FarModel], runs: Sequence[TrtexecRun | None]
) -> dict[str, Any] | None:
    """Return version and command lines of trtexec: its figures mean little without them."""
    commands = [shlex.join(model.command) for model in models if model.command is not None]
    if not commands:
        return None
    known = next((run for run in runs if run is not None), None)
    return {
        "version": known.version if known is not None else None,
        "gpu": known.device if known is not None else None,
        "commands": commands,
    }
