"""One trial from beginning to end, in directories that a kill at any moment leaves sound.

``work/<id>/`` holds what is under way: the pruned model, the state of fine-tuning, the tuned
model. When all is there it becomes ``trials/<id>/`` in one step.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from edgeprune import artifact
from edgeprune.domains import DomainDataset, Split, open_dataset
from edgeprune.drop import compare
from edgeprune.environment import artifact_versions
from edgeprune.errors import ArtifactError, ResultError
from edgeprune.files import explain_os_errors, write_text
from edgeprune.model import DenseOptions, Model, create
from edgeprune.predictions import PREDICTIONS_FILE, read_predictions
from edgeprune.pruning import calibrate, prune, reconstruction_samples
from edgeprune.schema import (
    DGResult,
    Drop,
    FinetuneResult,
    PruneResult,
    Selection,
    read_document,
)
from edgeprune.selection import comparable, selection_of
from edgeprune.sweeping.layout import (
    MODEL,
    RESULT_FILE,
    TEACHERS,
    is_done,
    trial_directory,
    weights_file,
    work_directory,
)
from edgeprune.sweeping.results import TrialResult, TrialSeconds
from edgeprune.sweeping.trials import Trial
from edgeprune.training import evaluate, finetune
from edgeprune.training.evaluation import machine_facts

PRUNED = "pruned"
VERSIONS_FILE = "versions.json"
PRUNE_FILE = "prune.json"
FINETUNE_FILE = "finetune.json"


def run_trial(trial: Trial, root: Path, data: str, threads: int) -> TrialResult:
    """Do what is left of a trial below the sweep's directory ``root``, and return its result.

    Raises:
        EdgepruneError: whatever a step of it raises.
    """
    with _held(root, trial.id):
        if is_done(root, trial.id):  # by a worker that outlived its sweep
            done = trial_directory(root, trial.id) / RESULT_FILE
            return read_document(done, TrialResult, ResultError)
        return _run(trial, root, data, threads)


@contextmanager
def _held(root: Path, identity: str) -> Iterator[None]:
    """Wait until no other process is at the trial, and keep others away from it."""
    path = work_directory(root, f"{identity}.lock")
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        path.unlink(missing_ok=True)


def _run(trial: Trial, root: Path, data: str, threads: int) -> TrialResult:
    started = time.perf_counter()
    work = work_directory(root, trial.id)
    if not _is_of_this_version(work):
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    write_text(work / VERSIONS_FILE, json.dumps(artifact_versions()))
    run = _TrialRun(trial, root, data)
    pruned = None
    if trial.prune is not None:
        pruned = run.pruned()
    tuned = run.tuned(artifact.load(work / PRUNED) if pruned else run.dense())
    seconds = time.perf_counter() - started
    result = _result(trial, work, pruned, tuned, run.drop(), threads, seconds)
    write_text(work / RESULT_FILE, result.to_json())
    done = trial_directory(root, trial.id)
    with explain_os_errors(done):
        done.parent.mkdir(exist_ok=True)
        shutil.rmtree(done, ignore_errors=True)  # what is left of one that was damaged
        work.replace(done)
    shutil.rmtree(done / PRUNED, ignore_errors=True)
    (done / VERSIONS_FILE).unlink(missing_ok=True)
    return result


def _is_of_this_version(work: Path) -> bool:
    """Tell whether what is under way was begun by the versions that are installed now."""
    try:
        return bool(json.loads((work / VERSIONS_FILE).read_text()) == artifact_versions())
    except (OSError, ValueError):
        return False


class _TrialRun:
    """The steps of one trial; each leaves its file and is skipped where that is there."""

    def __init__(self, trial: Trial, root: Path, data: str) -> None:
        self.trial = trial
        self.root = root
        self.work = work_directory(root, trial.id)
        self.dataset: DomainDataset = open_dataset(data)
        self.split: Split = trial.divide(self.dataset)

    def dense(self) -> Model:
        """Make the dense model as it starts."""
        model = self.trial.model
        options = DenseOptions(
            num_classes=len(self.dataset.classes),
            img_size=model.img_size,
            pretrained=model.pretrained,
            weights=weights_file(self.root, model),
            seed=self.trial.key.seed,
        )
        return create(model.name, options)

    def pruned(self) -> PruneResult:
        """Prune the dense model of the same target and seed, and score what is left."""
        made = self.work / PRUNED
        if artifact.is_artifact(made):
            return read_document(self.work / PRUNE_FILE, PruneResult, ResultError)
        model = self.teacher()
        settings = self.trial.prune_settings()
        images = partial(
            calibrate, self.dataset, self.split, model.preprocess, seed=self.trial.key.seed
        )
        calibration = images(samples=self.trial.samples)
        more = self.trial.reconstruct_samples or reconstruction_samples(
            model.module, model.record.img_size, self.trial.samples
        )
        reconstruction = images(samples=more) if settings.reconstruct else None
        small = prune(model, settings, calibration=calibration, reconstruction=reconstruction)
        dg = evaluate(small.model, self.dataset, self.split).dg
        write_text(self.work / PRUNE_FILE, small.result.to_json())
        artifact.save(small.model.with_record(dg=dg), made)
        return small.result

    def teacher(self) -> Model:
        """Load the dense model of the same target and seed."""
        assert self.trial.needs is not None  # asked of pruned trials only
        return artifact.load(trial_directory(self.root, self.trial.needs) / MODEL)

    def tuned(self, model: Model) -> FinetuneResult:
        """Fine-tune, from where an interrupted run stopped."""
        made, facts = self.work / MODEL, self.work / FINETUNE_FILE
        if artifact.is_artifact(made) and facts.is_file():
            return read_document(facts, FinetuneResult, ResultError)
        # Without its facts the model was written the moment before a kill.
        shutil.rmtree(made, ignore_errors=True)
        result = finetune(
            model,
            self.dataset,
            self.split,
            self.trial.finetune_settings(),
            output=made,
            teacher=self.teacher() if self.trial.teacher else None,
            teacher_memory=self.root / TEACHERS,
            resume=True,
        )
        write_text(facts, result.to_json())
        return result

    def drop(self) -> Drop | None:
        """Compare the answers to the target's images with those of the dense model.

        None of a dense model, and where the two were selected otherwise.
        """
        if self.trial.needs is None:
            return None
        own, dense = self.work / MODEL, trial_directory(self.root, self.trial.needs) / MODEL
        if not comparable(_selection(own), _selection(dense)):
            return None
        return compare(
            read_predictions(own / PREDICTIONS_FILE),
            read_predictions(dense / PREDICTIONS_FILE),
            against=self.trial.needs,
        )


def _result(
    trial: Trial,
    work: Path,
    pruned: PruneResult | None,
    tuned: FinetuneResult,
    drop: Drop | None,
    threads: int,
    seconds: float,
) -> TrialResult:
    record = artifact.read_record(work / MODEL)
    prune_seconds = pruned.seconds.total if pruned else None
    return TrialResult(
        id=trial.id,
        key=trial.key,
        artifact=f"{trial_directory(Path(), trial.id) / MODEL}",
        fingerprint=record.weights_sha256,
        dense=record.dense,
        pruned=record.pruned,
        dg=tuned.dg,
        drop=drop,
        untuned=_untuned(work) if pruned else None,
        steps=tuned.steps,
        best_step=tuned.best_step,
        history=tuned.history,
        seconds=TrialSeconds(prune=prune_seconds, finetune=tuned.seconds, total=seconds),
        threads=threads,
        machine=machine_facts(),
        versions=artifact_versions(),
    )


def _selection(made: Path) -> Selection | None:
    return selection_of(artifact.read_record(made).made)


def _untuned(work: Path) -> DGResult:
    dg = artifact.read_record(work / PRUNED).dg
    if dg is None:
        raise ArtifactError(f"{str(work / PRUNED)!r} has no accuracy")
    return dg
