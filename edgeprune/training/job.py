"""What a fine-tuning starts from: models, data and settings, and the batches that follow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch

from edgeprune.domains import DomainDataset, ImageStore, Split, data_facts, load_images
from edgeprune.environment import artifact_versions
from edgeprune.errors import ModelError
from edgeprune.model import Model, check_classes
from edgeprune.progress import Progress
from edgeprune.schema import Made, Selection
from edgeprune.selection import selection_of
from edgeprune.training.averaging import weights
from edgeprune.training.batches import Batch, TrainingImages, pooled
from edgeprune.training.mixup import mixup
from edgeprune.training.processes import Processes
from edgeprune.training.settings import FinetuneSettings
from edgeprune.training.teacher_memory import TeacherMemory


class Job:
    """What a run starts from. ``made`` goes into its artifact, ``identity`` marks its state."""

    def __init__(
        self,
        model: Model,
        teacher: Model | None,
        dataset: DomainDataset,
        split: Split,
        settings: FinetuneSettings,
        processes: Processes,
    ) -> None:
        self.processes = processes
        self.model = model
        self.dataset = dataset
        self.split = split
        self.settings = settings
        self.images = sum(map(len, split.train.values()))
        options = settings.decisive()
        del options["seed"]
        self.made = Made(
            command="finetune",
            options={**options, "teacher": _fingerprint(teacher) if teacher else None},
            seed=settings.seed,
            data=data_facts(dataset, split, self.images),
            versions=artifact_versions(),
        )

    @property
    def selection(self) -> Selection | None:
        """How the weights that it ends with are selected."""
        return selection_of([*self.model.record.made, self.made])

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the weights that it ends with."""
        return {
            "model": {"name": self.model.record.model, "weights": _fingerprint(self.model)},
            **self.made.model_dump(mode="json"),
        }

    def teacher_memory(self, directory: Path) -> TeacherMemory:
        """Open the memory of what the teacher says to the batches of this run."""
        decisive = ("batch_size", "mixup", "precision", "device")
        identity = {
            "teacher": self.made.options["teacher"],
            "images": str(self.model.preprocess),
            "data": self.made.model_dump(mode="json", include={"data", "seed", "versions"}),
            **{name: self.made.options[name] for name in decisive},
        }
        return TeacherMemory(directory, identity)

    def training_batches(self, progress: Progress) -> Callable[[int], Batch]:
        """Return what makes the batch of a step, or this process's share of it."""
        samples, sizes = pooled(self.split.train)
        store = load_images(samples, self.model.preprocess, progress=progress)
        settings, classes = self.settings, len(self.dataset.classes)
        images = TrainingImages(
            store, sizes, settings.batch_size, settings.seed, self.processes.share
        )
        if not settings.mixup:
            return images.batch
        return lambda step: mixup(*images.batch(step), classes, settings.mixup, settings.seed, step)

    def validation_stores(self, progress: Progress) -> dict[str, ImageStore]:
        """Read the validation images of every source domain."""
        return {
            domain: load_images(samples, self.model.preprocess, progress=progress)
            for domain, samples in self.split.validation.items()
        }

    def test_stores(self, progress: Progress) -> dict[str, ImageStore]:
        """Read the test images of every domain that is held out."""
        return {
            domain: load_images(samples, self.model.preprocess, progress=progress)
            for domain, samples in self.split.tests.items()
        }


def check_teacher(model: Model, teacher: Model | None, dataset: DomainDataset) -> None:
    """Check that a teacher knows the same classes and sees the same images. Raises ModelError."""
    if teacher is None:
        return
    try:
        check_classes(teacher, dataset.classes)
    except ModelError as error:
        raise ModelError(f"teacher: {error}") from None
    if teacher.preprocess != model.preprocess:
        raise ModelError(
            f"the teacher wants its images otherwise ({_wanted(teacher)})"
            f" than the model ({_wanted(model)})"
        )


def _wanted(model: Model) -> str:
    wants = model.preprocess
    return f"{wants.img_size} px, mean {wants.mean}, std {wants.std}, {wants.interpolation}"


def _fingerprint(model: Model) -> str:
    """Return the SHA-256 of the weights as an artifact would hold them."""
    return hashlib.sha256(safetensors.torch.save(weights(model.module))).hexdigest()
