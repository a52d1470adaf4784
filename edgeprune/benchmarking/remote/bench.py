"""``bench --host``: measure on another machine, with the rules and the arithmetic of a local bench.

The agent there returns raw samples; the document is made here, by the code for local results.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.benchmarking.candidates import Candidate
from edgeprune.benchmarking.harness import check_threads, gather
from edgeprune.benchmarking.remote.document import make_document
from edgeprune.benchmarking.remote.facts import FarFacts, environment_of, machine_of, read_facts
from edgeprune.benchmarking.remote.login import Login
from edgeprune.benchmarking.remote.models import exported, find_sources
from edgeprune.benchmarking.remote.reply import FarResult, read_result
from edgeprune.benchmarking.remote.session import Limits, Session
from edgeprune.benchmarking.remote.settings import Settings
from edgeprune.benchmarking.remote.tasks import Task, make_tasks
from edgeprune.devices import ANY_CPU
from edgeprune.errors import ResultError, UnavailableError
from edgeprune.machine import Machine, called, is_device
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import BenchResult

if TYPE_CHECKING:
    from edgeprune.model import DenseOptions


def bench_remote(
    candidates: Sequence[Candidate | str | Path],
    login: Login,
    *,
    baseline: Candidate | str | Path | None = None,
    settings: Settings | None = None,
    dense: DenseOptions | None = None,
    progress: Progress = SILENT,
    limits: Limits | None = None,
) -> BenchResult:
    """Measure models on the machine behind ``login``, as :func:`edgeprune.benchmarking.bench` does.

    Args:
        candidates: timm names and artifacts (exported to ONNX here first), ONNX files; engines
            for the runtime ``tensorrt``.
        login: the machine and how to get there.
        baseline: what they are compared with; measured in the same rounds.
        settings: what is measured and how; None means the defaults.
        dense: how timm models are made; None means with random weights.
        progress: where to show how far it is.
        limits: how long a lost connection is waited for; None means the defaults.

    Raises:
        UsageError, ModelError, ArtifactError: for bad input.
        UnavailableError: if the host cannot be used, has no such runtime or device, is not the
            board of the profile, or the connection is lost for too long.
        DiskFullError: if there is no room for the models there.
        ResultError: if what comes back cannot be true.
    """
    settings = settings or Settings()
    sources = find_sources(gather(candidates, baseline, dense), settings.runtime)
    with ExitStack() as stack:
        ready = stack.enter_context(exported(sources, progress, settings.opset))
        tasks = make_tasks(ready, settings)
        session = stack.enter_context(Session(login, progress, limits or Limits()))
        facts = read_facts(session.facts, login.host)
        machine = machine_of(facts)
        check_machine(settings, machine, login)
        check_runtime(settings, facts, login)
        threads = settings.threads or facts.available_cores
        check_threads(threads, facts.available_cores, login.host)
        result = _measure(session, tasks, settings, facts, threads)
    environment = environment_of(
        facts, machine, host=login.host, threads=threads, packages=settings.packages
    )
    return make_document(
        tasks,
        result,
        environment=environment | {"left": session.left},
        rule=settings.stop,
        device=settings.device_on(login.name),
        threads=threads,
        baseline=sources[0].label if baseline is not None else None,
        seed=settings.seed,
    )


def check_machine(settings: Settings, machine: Machine, login: Login) -> None:
    """Check that the machine there is the one of the profile that was asked for.

    Raises:
        UnavailableError: naming both.
    """
    wanted = settings.profile
    if wanted is None or is_device(machine, wanted):
        return
    name = machine.cpu if wanted.kind == "cpu" else machine.name
    raise UnavailableError(
        f"{login.host} is no {called(wanted)}: it is {name}, profile {machine.profile!r}",
        hint=f"--device {machine.profile}" if machine.profile != ANY_CPU else None,
    )


def check_runtime(settings: Settings, facts: FarFacts, login: Login) -> None:
    """Check that the runtime is there. Raises UnavailableError."""
    if settings.runtime == "tensorrt":
        if facts.trtexec is None:
            raise UnavailableError(
                f"{login.host} has no trtexec, neither on its PATH nor where JetPack puts it",
                hint="TRTEXEC in the environment of the login there names another place",
            )
        return
    if facts.runtimes.problem is not None:
        raise UnavailableError(
            f"{login.host} cannot run ONNX models with {login.python!r}: {facts.runtimes.problem}",
            hint=f"there: {login.python} -m pip install onnxruntime, or --remote-python",
        )


def _measure(
    session: Session, tasks: Sequence[Task], settings: Settings, facts: FarFacts, threads: int
) -> FarResult:
    session.open()
    copied: set[str] = set()
    for task in tasks:
        if task.parcel.folder not in copied:
            copied.add(task.parcel.folder)
            for path, name in task.parcel.files():
                session.send(path, task.parcel.folder, name)
    result = read_result(session.measure(job_of(tasks, settings, facts, threads)), session.host)
    found = [len(group) for group in result.groups]
    if found != [sum(t.batch == batch for t in tasks) for batch in settings.batches]:
        raise ResultError(f"{session.host} sent back {found} models, not those asked for")
    return result


def job_of(
    tasks: Sequence[Task], settings: Settings, facts: FarFacts, threads: int
) -> dict[str, Any]:
    """Return what the agent is told to do: the models by batch size, and the rules."""
    return {
        "runtime": settings.runtime,
        "seed": settings.seed,
        "stop": dataclasses.asdict(settings.stop),
        "rules": settings.rules,
        "groups": [
            [
                task.request(settings, facts.trtexec, threads)
                for task in tasks
                if task.batch == batch
            ]
            for batch in settings.batches
        ],
    }
