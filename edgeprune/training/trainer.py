"""The state of a training run and its two moves: one optimiser step, one evaluation."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping

import torch
from torch import nn

from edgeprune.domains import ImageStore
from edgeprune.errors import CheckError
from edgeprune.progress import Progress
from edgeprune.schema import HistoryPoint
from edgeprune.training.compute import autocast
from edgeprune.training.evaluation import Tally, pool, predictor, tally
from edgeprune.training.objective import objective
from edgeprune.training.optimiser import learning_rate, make_optimiser, set_learning_rate
from edgeprune.training.processes import SINGLE, Processes
from edgeprune.training.settings import FinetuneSettings

Tensors = dict[str, torch.Tensor]


class Trainer:
    """A copy of a module being trained, and all that a resumed run needs to go on.

    Attributes:
        step: optimiser steps done.
        history: one point per evaluation.
        best: weights of the best evaluation so far, on the CPU; of equals the later.
        loss_sum: sum of the training losses since the last evaluation.
        train_seconds, evaluate_seconds: wall time of both moves.
        device: where it is trained.
        consistent: False while a move is changing the state.
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
        self.optimiser = make_optimiser(self.module, settings)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self.step = 0
        self.history: list[HistoryPoint] = []
        self.best: Tensors = {}
        self.loss_sum = 0.0
        self.loss = math.nan
        self.train_seconds = 0.0
        self.evaluate_seconds = 0.0
        self.consistent = True

    @property
    def best_point(self) -> HistoryPoint:
        """The evaluation that ``best`` belongs to."""
        return max(reversed(self.history), key=lambda point: point.source_val)

    def evaluation_is_due(self) -> bool:
        """Tell whether this step ends with an evaluation that is not done yet."""
        planned = self.step % self._interval == 0 or self.step == self.steps
        return self.step > 0 and planned and self._last_evaluated() < self.step

    def update(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Do one optimiser step.

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
        self.loss = value
        self.loss_sum += value
        self.train_seconds += time.perf_counter() - started
        self.consistent = True
        self.optimiser.zero_grad(set_to_none=True)

    def evaluate(self, stores: Mapping[str, ImageStore], progress: Progress) -> None:
        """Score the source domains' validation images; keep the weights if they are the best.

        This picks a step only, so that it runs in the precision of training.
        """
        started = time.perf_counter()
        tallies = self.tallies(stores, progress, self._settings.precision)
        point = HistoryPoint(
            step=self.step,
            loss=self.loss_sum / (self.step - self._last_evaluated()),
            source_val=pool(list(tallies.values())).accuracy,
        )
        self.consistent = False
        if not self.history or point.source_val >= self.best_point.source_val:
            self.best = weights(self.module)
        self.history.append(point)
        self.loss_sum = 0.0
        self.evaluate_seconds += time.perf_counter() - started
        self.consistent = True
        progress.say(
            f"step {point.step} of {self.steps}: loss {point.loss:.3f},"
            f" source validation {point.source_val:.1f} %"
        )

    def tallies(
        self, stores: Mapping[str, ImageStore], progress: Progress, precision: str = "fp32"
    ) -> dict[str, Tally]:
        """Score the weights as they are, per domain."""
        predict = self._processes.predictor(predictor(self.module, precision))
        try:
            return {
                domain: tally(predict, store, description=f"scoring {domain}", progress=progress)
                for domain, store in stores.items()
            }
        finally:
            self.module.train()

    def _loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        teacher_logits = None
        with autocast(self.device, self._settings.precision):
            if self._teacher is not None:
                with torch.no_grad():
                    teacher_logits = self._teacher(images).float()
            logits = self._trained(images).float()
        return objective(logits, labels, teacher_logits, self._settings)

    def _last_evaluated(self) -> int:
        return self.history[-1].step if self.history else 0


def weights(module: nn.Module) -> Tensors:
    """Return a copy of all weights on the CPU."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous()
        for name, value in module.state_dict().items()
    }
