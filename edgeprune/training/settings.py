"""What a person may choose about fine-tuning."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from edgeprune.errors import UsageError, one_of
from edgeprune.schema import Selection
from edgeprune.selection import SELECTIONS

PRECISIONS = ("fp32", "bf16", "fp16")
DEVICES = ("cpu", "cuda")
AVERAGES = ("none", "ema", "swad")
DEFAULT_EPOCHS = 10
# Evaluations in a run whose settings do not say.
EVALUATIONS = 5
# SWAD looks for a valley of the loss between them: as often as its authors, in 5001 steps.
SWAD_EVALUATIONS = 50

_COUNTS = (
    "steps",
    "epochs",
    "batch_size",
    "swad_start_patience",
    "swad_end_patience",
    "eval_every",
    "checkpoint_every",
)


@dataclass(frozen=True)
class FinetuneSettings:
    """How a model is fine-tuned; raises UsageError for a value outside its range.

    Attributes:
        steps: optimiser steps; instead of ``epochs``.
        epochs: passes over as many images as the source domains have; 10 if neither is given.
        batch_size: images per step, dealt evenly over the source domains.
        lr: highest learning rate of AdamW.
        min_lr_share: share of ``lr`` that the cosine ends at.
        warmup_share: share of the steps in which the learning rate rises.
        layer_decay: factor on the learning rate per block away from the classifier; 1 is none.
        weight_decay: of the weights of linear and convolution layers, and nothing else.
        label_smoothing: probability mass spread over all classes.
        clip_norm: largest norm of the gradient of all parameters together.
        distill_weight: share of the teacher in the loss, where there is one.
        temperature: softens both logits before the teacher's and the student's are compared.
        mixup: alpha of the mixing of every two images and their labels; 0: they are not mixed.
        drop_path: share of the images for which the last block's branches are left out, falling
            linearly towards the first block; 0 leaves nothing out.
        average: of the weights over the steps: none, ema or swad.
        ema_decay: highest decay of the exponential moving average.
        swad_start_patience: evaluations whose first must have the lowest loss to start (N_s).
        swad_end_patience: evaluations in a row above the threshold that end it (N_e).
        swad_tolerance: the threshold, in mean losses of the evaluations that started it (r).
        eval_every: steps between evaluations on source validation; None: five in all, fifty
            with swad.
        selection: whose weights are kept: of the best evaluation on source validation
            ("source"), of the last step ("last"), or of the best evaluation on the target
            ("oracle").
        checkpoint_every: steps between writes of the state that a resumed run starts from;
            it does not change the result.
        precision: of forward and backward; weights and moments are fp32 always.
        device: cpu or cuda.
        seed: decides batches and augmentation.
    """

    steps: int | None = None
    epochs: int | None = None
    batch_size: int = 32
    lr: float = 1e-4
    min_lr_share: float = 0.01
    warmup_share: float = 0.1
    layer_decay: float = 1.0
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    clip_norm: float = 1.0
    distill_weight: float = 0.7
    temperature: float = 2.0
    mixup: float = 0.0
    drop_path: float = 0.0
    average: str = "none"
    ema_decay: float = 0.999
    swad_start_patience: int = 3
    swad_end_patience: int = 6
    swad_tolerance: float = 1.3
    eval_every: int | None = None
    selection: Selection = "source"
    checkpoint_every: int = field(default=100, compare=False)
    precision: str = "fp32"
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise UsageError(f"steps {self.steps} and epochs {self.epochs}: give one of the two")
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} {value!r} is not accepted: at least 1")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed!r} is not accepted: at least 0")
        for name in ("lr", "clip_norm", "temperature"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} {value!r} is not accepted: a number above 0")
        for name in ("weight_decay", "mixup"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} {value!r} is not accepted: at least 0")
        for name in ("min_lr_share", "warmup_share", "label_smoothing", "distill_weight"):
            self._check_share(name, low_open=False, high_open=name == "label_smoothing")
        self._check_share("layer_decay", low_open=True, high_open=False)
        for name in ("drop_path", "ema_decay"):
            self._check_share(name, low_open=False, high_open=True)
        if not (math.isfinite(self.swad_tolerance) and self.swad_tolerance >= 1):
            raise UsageError(f"swad_tolerance {self.swad_tolerance!r} is not accepted: at least 1")
        one_of(self.average, "average", AVERAGES)
        one_of(self.selection, "selection", SELECTIONS)
        if self.average == "swad" and self.selection != "source":
            raise UsageError(
                f"swad averages over a valley of the loss on source validation; selection"
                f" {self.selection!r} does not go with it"
            )
        one_of(self.precision, "precision", PRECISIONS)
        one_of(self.device, "device", DEVICES)

    def _check_share(self, name: str, *, low_open: bool, high_open: bool) -> None:
        value = getattr(self, name)
        low = value > 0 if low_open else value >= 0
        high = value < 1 if high_open else value <= 1
        if not (low and high):
            start = "above 0" if low_open else "from 0"
            end = "below 1" if high_open else "to 1"
            raise UsageError(f"{name} {value!r} is not accepted: {start} {end}")

    def total_steps(self, images: int) -> int:
        """Return the number of optimiser steps over ``images`` training images."""
        if self.steps is not None:
            return self.steps
        return math.ceil((self.epochs or DEFAULT_EPOCHS) * images / self.batch_size)

    def evaluation_interval(self, steps: int) -> int:
        """Return the number of steps between evaluations of a run of ``steps``."""
        evaluations = SWAD_EVALUATIONS if self.average == "swad" else EVALUATIONS
        return self.eval_every or max(1, math.ceil(steps / evaluations))

    def decisive(self) -> dict[str, Any]:
        """Return every setting that the resulting weights depend on."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.compare}


# What a run may be resumed with otherwise: it does not change what it ends with.
NOT_DECISIVE = frozenset(item.name for item in fields(FinetuneSettings) if not item.compare)
