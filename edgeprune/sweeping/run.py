"""A sweep from its spec to its results.

Workers are started before anything here loads torch, which takes seconds in every process.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from edgeprune.domains import DomainDataset, open_dataset, warn_of_duplicates
from edgeprune.environment import available_cores
from edgeprune.errors import OutputError, UsageError
from edgeprune.files import check_parent_writable, explain_os_errors, write_text
from edgeprune.pretrained import prepare_weights, weights_names
from edgeprune.progress import SILENT, Progress
from edgeprune.sweeping.driver import Driver
from edgeprune.sweeping.executor import Executor, Site
from edgeprune.sweeping.layout import (
    LOCK_FILE,
    SPEC_FILE,
    WORK,
    claim,
    is_done,
    weights_file,
)
from edgeprune.sweeping.local import LocalExecutor
from edgeprune.sweeping.ray import check_address
from edgeprune.sweeping.results import PlannedTrial, SweepPlan, SweepResult
from edgeprune.sweeping.spec import SweepSpec, located
from edgeprune.sweeping.store import STORE_FILE, Store, read_store
from edgeprune.sweeping.timing import check_device, time_models
from edgeprune.sweeping.trials import Trial, check_models_and_prunings, plan


def sweep(
    spec: SweepSpec,
    output: Path,
    *,
    workers: int = 1,
    threads: int | None = None,
    ray: str | None = None,
    text: str = "",
    progress: Progress = SILENT,
) -> SweepResult:
    """Do every trial of ``spec`` that is not done yet; results stream into ``output``.

    Args:
        spec: the grid.
        output: directory of the sweep; one that an earlier run began is gone on with.
        workers: trials at a time on this machine.
        threads: compute threads of each trial; None shares the cores out, and is one on a cluster.
        ray: address of a Ray cluster that runs the trials instead.
        text: the spec as it was written, to be kept beside the results.
        progress: is told of every trial that ends.

    Raises:
        UsageError, DataError, ModelError: if the spec is not accepted, or does not fit the data.
        OutputError: if ``output`` cannot be written, or another sweep writes there.
        UnavailableError: if no Ray cluster answers.
    """
    if workers < 1:
        raise UsageError(f"workers {workers} is not accepted; 1 or more is")
    if ray is not None:
        check_address(ray)
    spec = located(spec)
    dataset = open_dataset(spec.data)
    trials = plan(spec, dataset)
    # The cores of this machine say nothing about those of a cluster's.
    share = threads or (1 if ray is not None else max(1, available_cores() // workers))
    on_gpu = any(trial.finetune_settings().device == "cuda" for trial in trials)
    site = Site(output.absolute(), spec.data, share)
    with _claimed(output):
        left = sum(not is_done(output, trial.id) for trial in trials)
        with _opened(site, min(workers, left), ray, on_gpu) as executor:
            check_models_and_prunings(trials, len(dataset.classes))
            if executor is not None:
                _warn_of_duplicates(dataset, trials, progress)
                if ray is None:  # the CPUs of a cluster are others
                    _check_precisions(trials, progress)
                _prepare_weights(spec, output, progress)
            if spec.bench is not None:
                check_device(spec.bench)
            # From here on the directory is this spec's.
            if text:
                write_text(output / SPEC_FILE, text)
            with closing(Store(output / STORE_FILE)) as store:
                driver = Driver(site, store, trials, progress)
                driver.take_stock(spec.name)
                if executor is not None:
                    driver.run(executor)
        if spec.bench is not None:
            with closing(Store(output / STORE_FILE)) as store:
                time_models(spec.bench, store, output, progress)
    return summary(output)


def dry(spec: SweepSpec, output: Path | None = None) -> SweepPlan:
    """Return the trials of a sweep without doing any.

    Raises:
        UsageError, DataError, ModelError: if the spec is not accepted, or does not fit the data.
    """
    dataset = open_dataset(spec.data)
    trials = plan(spec, dataset)
    check_models_and_prunings(trials, len(dataset.classes))
    if spec.bench is not None:
        check_device(spec.bench)
    return SweepPlan(
        name=spec.name,
        trials=[
            PlannedTrial(
                id=trial.id,
                key=trial.key,
                done=output is not None and is_done(output, trial.id),
            )
            for trial in trials
        ],
    )


def summary(output: Path) -> SweepResult:
    """Say how far the sweep in ``output`` is."""
    found = read_store(output / STORE_FILE)
    states = [row.state for row in found.rows]
    return SweepResult(
        name=found.name,
        store=str(output / STORE_FILE),
        trials=len(states),
        done=states.count("done"),
        failed=states.count("failed"),
        rows=found.rows,
    )


@contextmanager
def _opened(site: Site, workers: int, ray: str | None, on_gpu: bool) -> Iterator[Executor | None]:
    """Start what runs the trials, and end it again; without work for a worker there is none."""
    if not workers:
        yield None
        return
    with closing(_executor(site, workers, ray, on_gpu)) as executor:
        yield executor


def _executor(site: Site, workers: int, ray: str | None, on_gpu: bool) -> Executor:
    if ray is None:
        return LocalExecutor(site, workers, gpus=_gpus() if on_gpu else 0)
    from edgeprune.sweeping.ray import RayExecutor

    return RayExecutor(site, ray, gpus=1 if on_gpu else 0)


def _gpus() -> int:
    """Return how many GPUs there are, of which trials want at least one.

    Raises:
        UnavailableError: if there is none.
    """
    import torch

    from edgeprune.training.compute import open_device

    open_device("cuda", "fp32")
    return torch.cuda.device_count()


def _warn_of_duplicates(
    dataset: DomainDataset, trials: Sequence[Trial], progress: Progress
) -> None:
    """Warn once per target; another seed divides the same images otherwise."""
    seen: set[str] = set()
    for trial in trials:
        if trial.key.target not in seen:
            seen.add(trial.key.target)
            warn_of_duplicates(trial.divide(dataset), progress)


def _check_precisions(trials: Sequence[Trial], progress: Progress) -> None:
    """Warn of a slow one once, however many trials train in it.

    Raises:
        UnavailableError: if this machine cannot train in one.
    """
    from edgeprune.training.compute import open_device, warn_of_slow_precision

    settings = (trial.finetune_settings() for trial in trials)
    for device, precision in sorted({(each.device, each.precision) for each in settings}):
        open_device(device, precision)
        warn_of_slow_precision(device, precision, progress)


def _prepare_weights(spec: SweepSpec, output: Path, progress: Progress) -> None:
    for model in spec.models:
        path = weights_file(output, model)
        if model.weights not in weights_names() or path is None or path.exists():
            continue
        progress.say(f"making the weights {model.weights} ready")
        prepare_weights(model.weights, path, img_size=model.img_size)


@contextmanager
def _claimed(output: Path) -> Iterator[None]:
    """Hold the directory.

    What is refused or interrupted before the first trial begins leaves nothing new behind.

    Raises:
        OutputError: if it holds something else, or another sweep is writing there.
    """
    if output.exists() and not output.is_dir():
        raise OutputError(f"output {str(output)!r} is a file; a directory was expected")
    check_parent_writable(output)
    before = {path.name for path in output.iterdir()} if output.exists() else set()
    if before and not before & {STORE_FILE, LOCK_FILE}:
        raise OutputError(f"output directory {str(output)!r} holds something else than a sweep")
    made = next((path for path in (*output.parents[::-1], output) if not path.exists()), None)
    with explain_os_errors(output):
        output.mkdir(parents=True, exist_ok=True)
        with claim(output) as is_ours:
            if not is_ours:
                raise OutputError(f"another sweep is writing into {str(output)!r}")
            try:
                yield
            except BaseException:
                if not (output / WORK).exists():
                    _remove(made, output, before)
                raise


def _remove(made: Path | None, output: Path, before: set[str]) -> None:
    """Remove what was made: the directories from ``made`` on, or what ``output`` did not hold."""
    if made is not None:
        shutil.rmtree(made, ignore_errors=True)
        return
    for path in output.iterdir():
        if path.name not in before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
