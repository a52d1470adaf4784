"""Fine-tuning on the source domains: the weights that were selected become an artifact."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeprune import artifact, families
from edgeprune.domains import (
    DomainDataset,
    ImageStore,
    Split,
    warn_of_duplicates,
)
from edgeprune.errors import CheckError, PeerError
from edgeprune.files import check_output_directory
from edgeprune.model import Model, check_classes
from edgeprune.predictions import Predictions
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import ArtifactRecord, FinetuneResult, FinetuneSeconds
from edgeprune.training.answers import predictions_of
from edgeprune.training.batches import prefetched
from edgeprune.training.compute import open_device, repeatable, warn_of_slow_precision
from edgeprune.training.evaluation import dg_result, machine_facts
from edgeprune.training.held_out import warn_of_leaks
from edgeprune.training.job import Job, check_teacher
from edgeprune.training.processes import open_processes
from edgeprune.training.resume import check_same_run, open_resume
from edgeprune.training.settings import FinetuneSettings
from edgeprune.training.stochastic_depth import set_drop_path
from edgeprune.training.trainer import Trainer


def finetune(
    model: Model,
    dataset: DomainDataset,
    split: Split,
    settings: FinetuneSettings | None = None,
    *,
    output: Path,
    teacher: Model | None = None,
    teacher_memory: Path | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress = SILENT,
) -> FinetuneResult:
    """Fine-tune a copy of ``model`` on the source domains and write it as an artifact.

    The weights of the best evaluation on the source domains' validation images are kept, unless
    ``settings`` asks for another selection or an average; the target is scored with those. Until
    ``output`` is complete, the state of the run lies in ``<output>.resume``; with ``resume`` an
    interrupted run continues from there and ends with the same weights as one that was never
    interrupted.

    Where a launcher started several processes, each calls this with the same arguments and trains
    on its share of every batch; the main one writes.

    Args:
        model: the dense or pruned model.
        dataset: the images; their classes must be the model's.
        split: which domain is held out, and what is trained on.
        settings: see :class:`FinetuneSettings`.
        output: the artifact directory.
        teacher: a model of the same classes and images whose logits are matched as well.
        teacher_memory: a directory where what the teacher says to each batch is kept for other
            students of the same teacher, data, split, seed and batches.
        resume: continue an interrupted run, if there is one.
        force: replace an output that is not empty, or start an interrupted run over.
        progress: how progress is shown.

    Raises:
        ModelError: if the model or the teacher does not fit the data.
        DataError: if an image cannot be read.
        UnavailableError: if the device or precision is not available here.
        OutputError: if ``output`` cannot be written, or an interrupted run is in the way.
        UsageError: if the interrupted run was another one, or the batch size does not divide
            over the processes.
        PeerError: if another process of the run has ended.
        CheckError: if the loss is not finite.
    """
    settings = settings or FinetuneSettings()
    device = open_device(settings.device, settings.precision)
    processes = open_processes(settings)
    progress = progress if processes.is_main else SILENT
    warn_of_slow_precision(settings.device, settings.precision, progress)
    processes.from_main(lambda: check_output_directory(output, force=force))
    check_classes(model, dataset.classes)
    check_teacher(model, teacher, dataset)
    directory = processes.from_main(lambda: open_resume(output, resume=resume, force=force))
    warn_of_leaks(model.record, dataset, split, "the model", progress)
    if teacher is not None:
        warn_of_leaks(teacher.record, dataset, split, "the teacher", progress)
    warn_of_duplicates(split, progress)
    job = Job(model, teacher, dataset, split, settings, processes)
    check_same_run(processes, job.identity)
    steps = settings.total_steps(job.images)
    trainer = Trainer(
        model.module,
        teacher.module if teacher else None,
        settings,
        steps,
        processes.device(device),
        processes,
    )
    if teacher_memory is not None and processes.count == 1:
        trainer.memory = job.teacher_memory(teacher_memory)
    ends = families.of(model.record.model).branch_ends(trainer.module)
    set_drop_path(trainer.module, ends, settings.drop_path)
    clock = _Clock()
    if resume and processes.from_main(directory.exists):
        clock.before = directory.read(trainer, job.identity, processes)
        progress.say(f"resuming after step {trainer.step} of {steps}")
    elif resume:
        progress.say("nothing to resume: starting at step 1")

    def checkpoint() -> None:
        if processes.is_main:
            directory.write(trainer, job.identity, clock.seconds())

    try:
        with _kept_when_interrupted(trainer, checkpoint), processes.peers():
            predictions = _train_and_score(job, trainer, checkpoint, progress)
            if trainer.memory:
                trainer.memory.save()
            record = processes.from_main(
                lambda: _write(job, trainer, predictions, output, force=force)
            )
    except CheckError:
        processes.from_main(directory.remove)
        raise
    processes.from_main(directory.remove)
    averaged = trainer.average.steps
    return FinetuneResult(
        artifact=str(output),
        model=model.record.model,
        steps=trainer.step,
        best_step=averaged[1] if averaged else trainer.best_point.step,
        averaged_steps=averaged,
        seconds=FinetuneSeconds(
            train=trainer.train_seconds,
            teacher=trainer.teacher_seconds,
            evaluate=trainer.evaluate_seconds,
            total=clock.seconds(),
        ),
        history=trainer.history,
        dg=dg_result(predictions, job.selection),
        seed=settings.seed,
        versions=job.made.versions,
        machine=machine_facts(),
        fingerprint=record.weights_sha256,
    )


class _Clock:
    """Wall time of a run, with that of the parts before it was resumed."""

    def __init__(self) -> None:
        self.before = 0.0
        self._started = time.perf_counter()

    def seconds(self) -> float:
        return self.before + time.perf_counter() - self._started


def _train_and_score(
    job: Job, trainer: Trainer, checkpoint: Callable[[], None], progress: Progress
) -> Predictions:
    stores = job.validation_stores(progress)
    targets = job.test_stores(progress) if job.settings.selection == "oracle" else None
    if not trainer.done or trainer.evaluation_is_due():
        _train(job, trainer, stores, targets, checkpoint, progress)
    trainer.module.load_state_dict(trainer.kept)
    if summary := trainer.average.summary():
        progress.say(summary)
    stores |= targets or job.test_stores(progress)
    return predictions_of(job.dataset, job.split, trainer.logits(stores, progress))


def _train(
    job: Job,
    trainer: Trainer,
    stores: dict[str, ImageStore],
    targets: dict[str, ImageStore] | None,
    checkpoint: Callable[[], None],
    progress: Progress,
) -> None:
    batch = job.training_batches(progress)
    steps = range(trainer.step, trainer.steps)
    # On the CPU a second thread would only take cores away from the step (measured on two).
    on_cpu = trainer.device.type == "cpu"
    batches = map(batch, steps) if on_cpu else prefetched(batch, steps)
    tracked = progress.track(
        batches, lambda: f"fine-tuning, loss {trainer.loss:.3f}", trainer.steps, trainer.step
    )
    with repeatable(trainer.device):
        # A run may have been interrupted between a step and its evaluation.
        if trainer.evaluation_is_due():
            trainer.evaluate(stores, progress, targets)
        for images, labels in tracked:
            trainer.update(images, labels)
            if trainer.evaluation_is_due():
                trainer.evaluate(stores, progress, targets)
            if trainer.step % job.settings.checkpoint_every == 0:
                checkpoint()
            if trainer.done:
                break


@contextmanager
def _kept_when_interrupted(trainer: Trainer, checkpoint: Callable[[], None]) -> Iterator[None]:
    """Write the state if the run is interrupted; in the middle of an update the last one stays."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, PeerError):
        if trainer.consistent and trainer.step > 0:
            checkpoint()
        raise


def _write(
    job: Job, trainer: Trainer, predictions: Predictions, output: Path, *, force: bool
) -> ArtifactRecord:
    record = job.model.record
    update = {
        "class_names": list(job.dataset.classes),
        "parent": record.weights_sha256 or None,
        "made": [
            *record.made,
            job.made.model_copy(update={"averaged_steps": trainer.average.steps}),
        ],
        "dg": dg_result(predictions, job.selection),
        "history": trainer.history,
    }
    module = trainer.module.to("cpu").eval()
    made = Model(module, record.model_copy(update=update))
    return artifact.save(made, output, force=force, predictions=predictions).record
