"""What the tests of sweeps share: a spec of tiny trials, and an executor that trains nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from edgeprune.schema import (
    Cost,
    DGResult,
    DomainAccuracy,
    FinetuneSeconds,
    MachineFacts,
    SplitFacts,
)
from edgeprune.sweeping.executor import Outcome
from edgeprune.sweeping.layout import MODEL, RESULT_FILE, trial_directory
from edgeprune.sweeping.results import TrialResult, TrialSeconds
from edgeprune.sweeping.trials import Trial

SPEC = """
name = "toy"
data = "toy"
targets = ["day", "dusk"]
seeds = [0, 1]
dense = {{ steps = {steps}, batch_size = 6, checkpoint_every = 1 }}
finetune = {{ steps = {steps}, batch_size = 6, checkpoint_every = 1 }}

[[models]]
name = "vit_tiny_patch16_224"
label = "ViT-Ti"
img_size = 32
pretrained = false

[[prune]]
metrics = ["l1", "random"]
ratios = [0.5]
reconstruct = false
samples = 4
"""


def write_spec(folder: Path, steps: int = 2, text: str = SPEC) -> Path:
    path = folder / "sweep.toml"
    path.write_text(text.format(steps=steps))
    return path


def result_of(trial: Trial) -> TrialResult:
    """A result whose figures depend on the trial alone."""
    accuracy = random.Random(trial.id).uniform(20, 90)
    domain = DomainAccuracy(accuracy=accuracy, n=50, ci95=(accuracy - 5, accuracy + 5))
    cost = Cost(params=100, macs=1000)
    return TrialResult(
        id=trial.id,
        key=trial.key,
        artifact=str(trial_directory(Path(), trial.id) / "model"),
        fingerprint="0" * 64,
        dense=cost,
        pruned=cost,
        dg=DGResult(
            dataset="toy",
            target=trial.key.target,
            split=SplitFacts(by="file", seed=trial.key.seed, holdout=0.2),
            target_accuracy=accuracy,
            source_val_accuracy=accuracy,
            domains={trial.key.target: domain},
        ),
        drop=None,
        untuned=None,
        steps=1,
        best_step=1,
        history=[],
        seconds=TrialSeconds(
            prune=None, finetune=FinetuneSeconds(train=1, evaluate=1, total=2), total=2
        ),
        threads=1,
        machine=MachineFacts(cpu="none", cores=1),
        versions={},
    )


class FakeExecutor:
    """Ends trials in random order: each as ``end`` says, or with a result."""

    def __init__(
        self,
        root: Path,
        slots: int = 2,
        end: Callable[[Trial], Outcome | None] = lambda trial: None,
    ) -> None:
        self.slots = slots
        self.submitted: list[str] = []
        self.closed = False
        self._root = root
        self._end = end
        self._random = random.Random(0)
        self._under_way: list[Trial] = []

    def submit(self, trial: Trial) -> None:
        assert len(self._under_way) < self.slots
        self.submitted.append(trial.id)
        self._under_way.append(trial)

    def wait(self) -> Outcome:
        trial = self._under_way.pop(self._random.randrange(len(self._under_way)))
        given = self._end(trial)
        if given is not None:
            return given
        result = result_of(trial)
        directory = trial_directory(self._root, trial.id)
        (directory / MODEL).mkdir(parents=True, exist_ok=True)
        (directory / RESULT_FILE).write_text(result.to_json())
        return Outcome(trial.id, result=result)

    def close(self) -> None:
        self.closed = True
