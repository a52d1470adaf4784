"""edgeprune against torch-pruning's own ViT recipe: accuracy at equal MACs.

One dense model per held-out domain and seed; every pruner cuts a copy of it, sees the same
calibration images, and the result is fine-tuned by the same steps on the same batches with the
dense model as teacher. Measured right after pruning and after fine-tuning (the last step: nothing
is chosen by looking at accuracies). edgeprune is given the MACs that torch-pruning's recipe leaves.

Takes about a quarter of an hour per domain and seed on one core. What is done is kept in
``--scratch`` and not done again, so that it can be interrupted:

    python -m benchmarks.pruner_comparison --targets microsoft apple --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import torch_pruning_recipe
from benchmarks.record import machine, write
from edgeprune import artifact
from edgeprune.costs import count
from edgeprune.domains import leave_one_out, load_images, open_dataset
from edgeprune.files import write_text
from edgeprune.model import DenseOptions, create
from edgeprune.pretrained import prepare_weights
from edgeprune.pruning import PruneSettings, calibrate, prune
from edgeprune.training import FinetuneSettings, finetune
from edgeprune.training.batches import TrainingImages, pooled
from edgeprune.training.compute import open_device, repeatable
from edgeprune.training.evaluation import logits_of, pool, predictor, tally_of
from edgeprune.training.trainer import Trainer

MODEL = "vit_small_patch14_dinov2"
IMG_SIZE = 70
Trial = dict[str, Any]

TARGETS = ("microsoft", "apple")
SEEDS = (0, 1, 2)
RATIOS = (0.5, 0.75)
DENSE_STEPS = 140
TUNE_STEPS = 100
SAMPLES = 256
PRECISION = "bf16"
OURS = {
    "edgeprune hessian": {"metric": "hessian", "scope": "global"},
    "edgeprune hessian local": {"metric": "hessian", "scope": "local"},
    "edgeprune dg_mean_std": {"metric": "dg_mean_std", "scope": "global"},
}


def main() -> None:
    """Run what is missing, then write the tables of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--scratch", type=Path, default=Path("runs/pruner-comparison"))
    parser.add_argument("--no-tables", action="store_true")
    chosen = parser.parse_args()
    for seed in chosen.seeds:
        for target in chosen.targets:
            run_trials(target, seed, chosen.scratch)
    if not chosen.no_tables:
        trials = [json.loads(path.read_text()) for path in sorted(chosen.scratch.glob("*.json"))]
        write(table(trials), "pruner_comparison")


def run_trials(target: str, seed: int, scratch: Path) -> None:
    """Run every pruner at every ratio for one held-out domain and seed."""
    scratch.mkdir(parents=True, exist_ok=True)
    bench: Bench | None = None
    for ratio in RATIOS:
        macs = None
        for pruner in (*map("torch-pruning {}".format, torch_pruning_recipe.IMPORTANCES), *OURS):
            path = scratch / f"{target}-{seed}-{ratio:g}-{pruner.replace(' ', '-')}.json"
            if not path.exists():
                bench = bench or Bench(target, seed, scratch)
                trial = bench.trial(pruner, ratio, macs)
                write_text(path, json.dumps(trial, indent=2) + "\n")
                print(json.dumps(trial), flush=True)
            macs = macs or json.loads(path.read_text())["macs"]


class Bench:
    """One dense model, its data, and what every pruner is measured with."""

    def __init__(self, target: str, seed: int, scratch: Path) -> None:
        self.target, self.seed = target, seed
        dataset = open_dataset("emoji")
        split = leave_one_out(dataset, target, seed=seed)
        self.dense = scratch / f"dense-{target}-{seed}"
        if not self.dense.exists():
            weights = scratch / "weights.safetensors"
            if not weights.exists():
                prepare_weights("dinov2-small", weights, img_size=IMG_SIZE)
            options = DenseOptions(len(dataset.classes), IMG_SIZE, weights=weights, seed=seed)
            settings = FinetuneSettings(steps=DENSE_STEPS, seed=seed, precision=PRECISION)
            finetune(create(MODEL, options), dataset, split, settings, output=self.dense)
        model = artifact.load(self.dense)
        self.preprocess = model.preprocess
        self.classes = len(dataset.classes)
        held_out = {**split.validation, target: split.test}
        self.stores = {name: load_images(part, self.preprocess) for name, part in held_out.items()}
        self.calibration = calibrate(dataset, split, self.preprocess, samples=SAMPLES, seed=seed)
        samples, self.sizes = pooled(split.train)
        self.images = load_images(samples, self.preprocess)
        self.teacher = _Remembering(model.module)
        self.dense_accuracy = self.accuracy(model.module)
        self.dense_macs = count(model.module, IMG_SIZE).macs

    def trial(self, pruner: str, ratio: float, macs: int | None) -> dict[str, Any]:
        """Prune, score, fine-tune, score."""
        started = time.perf_counter()
        kind, _, name = pruner.partition(" ")
        if kind == "torch-pruning":
            module = self._by_torch_pruning(name, ratio)
        else:
            assert macs is not None  # torch-pruning goes first
            module = self._by_edgeprune(OURS[pruner], macs)
        seconds = time.perf_counter() - started
        after = self.accuracy(module)
        tuned = self.accuracy(self._tuned(module))
        return {
            "target": self.target,
            "seed": self.seed,
            "ratio": ratio,
            "pruner": pruner,
            "macs": count(module, IMG_SIZE).macs,
            "params": count(module, IMG_SIZE).params,
            "dense_macs": self.dense_macs,
            "dense": self.dense_accuracy,
            "after_pruning": after,
            "after_tuning": tuned,
            "tune_steps": TUNE_STEPS,
            "prune_s": seconds,
        }

    def accuracy(self, module: nn.Module) -> dict[str, float]:
        """Return the accuracy on the source domains' validation images and on the target, in %."""
        predict = predictor(module)
        found = {
            name: tally_of(logits_of(predict, store, description=""), store.labels.numpy())
            for name, store in self.stores.items()
        }
        target = found.pop(self.target)
        return {"source_val": pool(list(found.values())).accuracy, "target": target.accuracy}

    def _by_torch_pruning(self, importance: str, ratio: float) -> nn.Module:
        state = artifact.load(self.dense).module.state_dict()
        module = torch_pruning_recipe.plain_timm(MODEL, state, IMG_SIZE, self.classes)
        # Its loop for hessian goes back through a whole batch once per image; one by one the same
        # gradients come sixty times sooner.
        size = 1 if importance == "hessian" else 64
        batches = list(self.calibration.batches(batch=size))
        return torch_pruning_recipe.prune(module, importance, ratio, batches)

    def _by_edgeprune(self, chosen: dict[str, Any], macs: int) -> nn.Module:
        settings = PruneSettings(
            ratio=1 - macs / self.dense_macs,
            budget="macs",
            reconstruct=True,
            seed=self.seed,
            **chosen,
        )
        model = artifact.load(self.dense)
        return prune(model, settings, calibration=self.calibration).model.module

    def _tuned(self, module: nn.Module) -> nn.Module:
        settings = FinetuneSettings(steps=TUNE_STEPS, seed=self.seed, precision=PRECISION)
        device = open_device("cpu", PRECISION)
        trainer = Trainer(module, self.teacher, settings, TUNE_STEPS, device)
        images = TrainingImages(self.images, self.sizes, settings.batch_size, self.seed)
        with repeatable(device):
            for step in range(TUNE_STEPS):
                trainer.update(*images.batch(step))
        return trainer.module.eval()


class _Remembering(nn.Module):
    """A teacher that keeps the logits of batches it has seen: every pruner's are the same."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher
        self._logits: dict[bytes, torch.Tensor] = {}

    def __deepcopy__(self, memo: object) -> _Remembering:
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits ``(batch, classes)``."""
        key = hashlib.sha256(images.numpy().tobytes()).digest()
        if key not in self._logits:
            self._logits[key] = self.teacher(images)
        return self._logits[key]


def table(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one row per ratio and pruner, averaged over the domains and seeds that all have."""
    rows = []
    for ratio in sorted({trial["ratio"] for trial in trials}):
        found: dict[str, dict[tuple[str, int], Trial]] = {}
        for trial in trials:
            if trial["ratio"] == ratio:
                found.setdefault(trial["pruner"], {})[trial["target"], trial["seed"]] = trial
        common = sorted(set.intersection(*(set(each) for each in found.values())))
        by_pruner = {pruner: [each[key] for key in common] for pruner, each in found.items()}
        theirs = [pruner for pruner in by_pruner if pruner.startswith("torch-pruning")]
        best = max(theirs, key=lambda pruner: statistics.mean(_reached(by_pruner[pruner])))
        for pruner, chosen in by_pruner.items():
            pairs = zip(_reached(chosen), _reached(by_pruner[best]), strict=True)
            gain = "" if pruner == best else _mean([ours - theirs for ours, theirs in pairs])
            row = {"ratio": ratio, "pruner": pruner, **_row(chosen)}
            rows.append({**row, "gain over the best of theirs": gain})
    return {"name": "edgeprune against torch-pruning", "machine": machine(), "rows": rows}


def _reached(trials: list[Trial]) -> list[float]:
    return [trial["after_tuning"]["target"] for trial in trials]


def _row(trials: list[Trial]) -> dict[str, Any]:
    def both(stage: str) -> str:
        parts = [[trial[stage][part] for trial in trials] for part in ("source_val", "target")]
        return " / ".join(f"{statistics.mean(part):.1f}" for part in parts)

    drops = [trial["dense"]["target"] - trial["after_tuning"]["target"] for trial in trials]
    return {
        "trials": len(trials),
        "MACs ratio": statistics.mean(trial["dense_macs"] / trial["macs"] for trial in trials),
        "dense": both("dense"),
        "right after pruning": both("after_pruning"),
        "after fine-tuning": both("after_tuning"),
        "drop on the target": _mean(drops),
    }


def _mean(values: list[float]) -> str:
    """Return the mean and its standard error."""
    if len(values) < 2:
        return f"{values[0]:.1f}"
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):.1f} ± {error:.1f}"


if __name__ == "__main__":
    main()
