"""A short training between rounds of pruning, so that the next scores are of a working model."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import nn

from edgeprune.domains import Split, load_images
from edgeprune.model import Model
from edgeprune.progress import SILENT, Progress
from edgeprune.training.batches import TrainingImages, pooled
from edgeprune.training.compute import open_device, repeatable
from edgeprune.training.settings import FinetuneSettings
from edgeprune.training.trainer import Trainer


@dataclass(frozen=True)
class Recovery:
    """Training images of the source domains, and the model as it came for a teacher."""

    images: TrainingImages
    teacher: nn.Module
    settings: FinetuneSettings

    def train(self, module: nn.Module, round_: int, progress: Progress = SILENT) -> None:
        """Train ``module`` in place for as many steps as the settings say.

        Args:
            module: a pruned model.
            round_: which round of pruning came before, from 0: each has batches of its own.
            progress: where to show how far it has come.

        Raises:
            CheckError: if the loss is not finite.
        """
        steps = self.settings.total_steps(0)
        device = open_device(self.settings.device, self.settings.precision)
        trainer = Trainer(module, self.teacher, self.settings, steps, device)
        numbers = range(round_ * steps, (round_ + 1) * steps)
        with repeatable(device):
            for step in progress.track(numbers, f"recovering, round {round_ + 1}", steps):
                trainer.update(*self.images.batch(step))
        module.load_state_dict(trainer.module.state_dict())


def recovery(
    model: Model,
    split: Split,
    *,
    steps: int,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Recovery:
    """Read the training images of the source domains, and keep a copy of ``model`` as the teacher.

    Raises:
        DataError: if an image cannot be read.
    """
    settings = FinetuneSettings(steps=steps, seed=seed)
    samples, sizes = pooled(split.train)
    store = load_images(samples, model.preprocess, progress=progress)
    images = TrainingImages(store, sizes, settings.batch_size, seed)
    return Recovery(images, copy.deepcopy(model.module), settings)
