"""The state of a training run and its two moves: one optimiser step, one evaluation."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from statistics import fmean

import torch
from torch import nn

from edgeprune.domains import ImageStore
from edgeprune.errors import CheckError
from edgeprune.predictions import Logits
from edgeprune.progress import Progress
from edgeprune.schema import HistoryPoint
from edgeprune.selection import chosen
from edgeprune.training.averaging import Average, Ema, Tensors, check_can_be_averaged, weights
from edgeprune.training.compute import autocast
from edgeprune.training.evaluation import Tally, logits_of, pool, predictor, tally_of
from edgeprune.training.objective import objective
from edgeprune.training.optimiser import learning_rate, make_optimiser, set_learning_rate
from edgeprune.training.processes import SINGLE, Processes
from edgeprune.training.settings import FinetuneSettings
from edgeprune.training.swad import Patience, Swad
from edgeprune.training.teacher_memory import TeacherMemory


class Trainer:
    """A copy of a module being trained, and all that a resumed run needs to go on.

    Attributes:
        step: optimiser steps done.
        history: one point per evaluation.
        best: weights of the evaluation that is chosen so far, on the CPU. Empty where the run ends
            with an average over steps instead.
        average: what is made of the weights of all steps.
        loss_sum: sum of the training losses since the last evaluation.
        train_seconds, evaluate_seconds: wall time of both moves.
        teacher_seconds: the part of the former in which the teacher answered.
        device: where it is trained.
        consistent: False while a move is changing the state.
        memory: what the teacher said to the same batches before.
    """

    def __init__(
        self,
        module: nn.Module,
        teacher: nn.Module | None,
        settings: FinetuneSettings,
        steps: int,
        device: torch.device,
        processes: Processes = SINGLE,
    ) -> None:
        self._processes = processes
        self.module = copy.deepcopy(module).to(device).train()
        self._trained = processes.wrap(self.module)
        self._teacher = copy.deepcopy(teacher).to(device).eval() if teacher is not None else None
        self._settings = settings
        self.device = device
        self._interval = settings.evaluation_interval(steps)
        self.steps = steps
        self.average = _average(self.module, settings)
        self.optimiser = make_optimiser(self.module, settings)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self.step = 0
        self.history: list[HistoryPoint] = []
        self.best: Tensors = {}
        self.loss_sum = 0.0
        self.loss = math.nan
        self.train_seconds = 0.0
        self.teacher_seconds = 0.0
        self.evaluate_seconds = 0.0
        self.consistent = True
        self.memory: TeacherMemory | None = None

    @property
    def best_point(self) -> HistoryPoint:
        """The evaluation that ``best`` belongs to."""
        return chosen(self.history, self._settings.selection)

    @property
    def done(self) -> bool:
        """Whether there is no step left to do."""
        return self.step >= self.steps or self.average.ended

    @property
    def kept(self) -> Tensors:
        """The weights that the run ends with."""
        return self.average.result() or self.best

    def evaluation_is_due(self) -> bool:
        """Tell whether this step ends with an evaluation that is not done yet."""
        planned = self.step % self._interval == 0 or self.step == self.steps
        return self.step > 0 and planned and self._last_evaluated() < self.step

    def update(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Do one optimiser step.

        Args:
            images: ``(batch, 3, size, size)``.
            labels: classes ``(batch,)``, or their probabilities ``(batch, classes)``.

        Raises:
            CheckError: if the loss is not finite.
        """
        started = time.perf_counter()
        lr = learning_rate(self.step, self.steps, self._settings)
        set_learning_rate(self.optimiser, lr)
        # Whatever a model draws (dropout) depends on the step, not on what was drawn before.
        seed = self._settings.seed * 1_000_003 + self.step
        torch.manual_seed(seed + self._processes.seed_offset)
        loss = self._loss(images.to(self.device), labels.to(self.device))
        value = self._processes.mean(loss.item())
        if not math.isfinite(value):
            raise CheckError(
                f"the training loss became {value} at step {self.step + 1}",
                hint=f"try a lower learning rate than {self._settings.lr:g} (--lr)",
            )
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.module.parameters(), self._settings.clip_norm)
        self.consistent = False
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        self.average.update(self.step)
        self.loss = value
        self.loss_sum += value
        self.train_seconds += time.perf_counter() - started
        self.consistent = True
        self.optimiser.zero_grad(set_to_none=True)

    def evaluate(
        self,
        stores: Mapping[str, ImageStore],
        progress: Progress,
        targets: Mapping[str, ImageStore] | None = None,
    ) -> None:
        """Score the source domains' validation images; keep the weights if they are the chosen.

        ``targets`` are the images of the target, where they pick the step. This picks a step
        only, so that it runs in the precision of training.
        """
        started = time.perf_counter()
        scored = self.average.module
        together = pool(self._tallies(stores, progress, scored))
        target = None
        if targets is not None:
            target = fmean(tally.accuracy for tally in self._tallies(targets, progress, scored))
        point = HistoryPoint(
            step=self.step,
            loss=self.loss_sum / (self.step - self._last_evaluated()),
            source_val=together.accuracy,
            source_val_loss=together.loss,
            target=target,
        )
        self.consistent = False
        self.history.append(point)
        if self.best_point == point and self._settings.average != "swad":
            self.best = weights(scored)
        self.average.evaluated(self.history)
        self.loss_sum = 0.0
        self.evaluate_seconds += time.perf_counter() - started
        self.consistent = True
        progress.say(
            f"step {point.step} of {self.steps}: loss {point.loss:.3f},"
            f" source validation {point.source_val:.1f} %"
            + (f", target {target:.1f} %" if target is not None else "")
        )

    def logits(
        self,
        stores: Mapping[str, ImageStore],
        progress: Progress,
        precision: str = "fp32",
        module: nn.Module | None = None,
    ) -> dict[str, Logits]:
        """Return the answers of the weights as they are, or of another module, per domain."""
        scored = self.module if module is None else module
        predict = self._processes.predictor(predictor(scored, precision))
        try:
            return {
                domain: logits_of(
                    predict, store, description=f"scoring {domain}", progress=progress
                )
                for domain, store in stores.items()
            }
        finally:
            self.module.train()

    def _tallies(
        self, stores: Mapping[str, ImageStore], progress: Progress, module: nn.Module
    ) -> list[Tally]:
        logits = self.logits(stores, progress, self._settings.precision, module)
        return [tally_of(logits[name], store.labels.numpy()) for name, store in stores.items()]

    def _loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with autocast(self.device, self._settings.precision):
            teacher_logits = self._taught(images)
            logits = self._trained(images).float()
        return objective(logits, labels, teacher_logits, self._settings)

    def _taught(self, images: torch.Tensor) -> torch.Tensor | None:
        """Return the teacher's logits for the batch of this step."""
        if self._teacher is None:
            return None
        known = self.memory.recall(self.step) if self.memory else None
        if known is not None:
            return known.to(self.device)
        started = time.perf_counter()
        with torch.no_grad():
            logits: torch.Tensor = self._teacher(images).float()
        if self.memory:
            self.memory.keep(self.step, logits)
        if self.device.type == "cuda":  # which has only been told to compute them
            torch.cuda.synchronize(self.device)
        self.teacher_seconds += time.perf_counter() - started
        return logits

    def _last_evaluated(self) -> int:
        return self.history[-1].step if self.history else 0


def _average(module: nn.Module, settings: FinetuneSettings) -> Average:
    if settings.average == "none":
        return Average(module)
    check_can_be_averaged(module)
    if settings.average == "ema":
        return Ema(module, settings.ema_decay)
    patience = Patience(
        settings.swad_start_patience, settings.swad_end_patience, settings.swad_tolerance
    )
    return Swad(module, patience)
