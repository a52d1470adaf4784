"""Proof that an exported file computes what the PyTorch model computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch

from edgeprune.domains import DomainDataset, Sample, load_images
from edgeprune.errors import CheckError
from edgeprune.exporting.accuracy import Answers, compare, complaints, pooled, worst
from edgeprune.model import Model
from edgeprune.onnx_runner import OnnxRunner, Runner, as_pixels
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import Parity

# fp32: largest difference of a logit.
MAX_ABS = 1e-4
# fp16 without labelled images: largest difference, as a share of the logits' standard deviation.
HALF_SHARE = 0.05
# Numbers this many times those of normalised images come out of pixels that nobody normalised.
EXTREME = 100.0


@dataclass(frozen=True)
class Probe:
    """Images to compare on: ``(n, 3, size, size)``, normalised, and what they are.

    Of ``extreme`` ones only finite answers are asked.
    """

    name: str
    images: torch.Tensor
    extreme: bool = False


def random_probe(model: Model, count: int = 8, seed: int = 0) -> Probe:
    """Return standard normal noise, which is what normalised images are like at large."""
    size = model.record.img_size
    generator = torch.Generator().manual_seed(seed)
    return Probe("random", torch.randn(count, 3, size, size, generator=generator))


def extreme_probe(model: Model, count: int = 2) -> Probe:
    """Return noise far beyond what normalised images are."""
    return Probe("extreme", random_probe(model, count, seed=1).images * EXTREME, extreme=True)


def image_probe(model: Model, dataset: DomainDataset, per_domain: int = 2) -> Probe:
    """Return real images, evenly spaced over every domain.

    Raises:
        DataError: if an image cannot be read.
    """
    chosen: list[Sample] = []
    for domain in dataset.domains:
        samples = dataset.of(domain)
        step = max(1, len(samples) // per_domain)
        chosen += samples[::step][:per_domain]
    store = load_images(chosen, model.preprocess)
    return Probe(dataset.name, store.eval_batch(np.arange(len(chosen))))


def prove(
    model: Model,
    path: Path,
    probes: Sequence[Probe],
    *,
    precision: str = "fp32",
    expected: Answers | None = None,
    max_drop: float = 0.0,
    progress: Progress = SILENT,
) -> Parity:
    """Check a file with onnx.checker and compare its answers with PyTorch's.

    Batches of one, and of all images of a probe, are both run if the file's batch is dynamic.

    Args:
        model: the model that was exported.
        path: the file.
        probes: images to compare on.
        precision: fp32 is judged by its logits; fp16 and int8 by their accuracy if there are
            labelled images, else by a limit that is wider than that of fp32.
        expected: PyTorch's answers on labelled images.
        max_drop: points of accuracy that may be lost.
        progress: where to say what is being done.

    Raises:
        CheckError: if the file is invalid or too far from PyTorch.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CheckError(f"the exported ONNX file is not valid: {error}") from error
    runner = OnnxRunner(path)
    return judge(model, runner, "ONNX file", probes, precision, expected, max_drop, progress)


def judge(
    model: Model,
    runner: Runner,
    kind: str,
    probes: Sequence[Probe],
    precision: str,
    expected: Answers | None,
    max_drop: float,
    progress: Progress = SILENT,
) -> Parity:
    """Compare the answers of an open file with PyTorch's; see :func:`prove`.

    ``kind`` is what messages call the file.
    """
    parity, spread = _differences(model, runner, kind, probes, precision)
    limit = MAX_ABS if precision == "fp32" else HALF_SHARE * spread
    judged_by_logits = precision == "fp32" or expected is None
    too_far = judged_by_logits and not parity.max_abs <= limit
    if too_far or (precision == "fp32" and parity.top1_agreement < 100):
        agreement = " (limit 100 %)" if precision == "fp32" else ""
        raise CheckError(
            f"the {precision} {kind} differs from PyTorch: largest difference"
            f" {parity.max_abs:.2g} (limit {limit:.2g}), top-1 agreement"
            f" {parity.top1_agreement:.1f} %{agreement}"
        )
    if expected is None:
        return parity
    found = compare(expected, runner, progress)
    texts = complaints(expected, found, max_drop) if precision != "fp32" else []
    if texts:
        raise CheckError(
            f"the {precision} {kind} loses more than {max_drop:g} points: {'; '.join(texts)}"
        )
    return parity.model_copy(
        update={
            "domains": found,
            "source_val": pooled(expected, found),
            "target": expected.labelled.split.target,
            "worst_domain": worst(found),
        }
    )


def _differences(
    model: Model, runner: Runner, kind: str, probes: Sequence[Probe], precision: str
) -> tuple[Parity, float]:
    """Compare the logits; also return the standard deviation of PyTorch's."""
    expected, found = [], []
    for probe in probes:
        shown = _as_taken(probe, model, runner)
        with torch.inference_mode():
            logits = model.module.eval()(shown.images).numpy()
        own = _run(runner, shown.images.numpy())
        if not np.isfinite(own).all():
            raise CheckError(
                f"the {precision} {kind} gives numbers that are not finite on {probe.name}"
                " images: something in it exceeds what the precision can hold"
            )
        if not probe.extreme:
            expected.append(logits)
            found.append(own)
    reference, other = np.concatenate(expected), np.concatenate(found)
    difference = np.abs(reference - other)
    parity = Parity(
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
        top1_agreement=100 * float((reference.argmax(1) == other.argmax(1)).mean()),
        n=len(reference),
        inputs=[probe.name for probe in probes],
    )
    return parity, float(reference.std())


def _as_taken(probe: Probe, model: Model, runner: Runner) -> Probe:
    """Return the nearest images that can be shown to the file and to PyTorch alike."""
    if not runner.takes_pixels:
        return probe
    images = as_pixels(probe.images.numpy(), model.preprocess)
    return replace(probe, images=torch.from_numpy(images))


def _run(runner: Runner, images: np.ndarray) -> np.ndarray:
    """Run images in batches of the file's own size, or one alone and the rest together."""
    if runner.batch is not None or len(images) == 1:
        return runner.logits(images)
    return np.concatenate([runner.logits(images[:1]), runner.logits(images[1:])])
