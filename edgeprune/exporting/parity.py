"""Proof that an exported file computes what the PyTorch model computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from edgeprune.domains import DomainDataset, Sample, load_images
from edgeprune.errors import CheckError
from edgeprune.exporting.onnx import INPUT, OUTPUT
from edgeprune.model import Model
from edgeprune.schema import Parity

MAX_ABS = 1e-4


@dataclass(frozen=True)
class Probe:
    """Images to compare on: ``(n, 3, size, size)``, normalised, and what they are."""

    name: str
    images: torch.Tensor


def random_probe(model: Model, count: int = 8, seed: int = 0) -> Probe:
    """Return standard normal noise, which is what normalised images are like at large."""
    size = model.record.img_size
    generator = torch.Generator().manual_seed(seed)
    return Probe("random", torch.randn(count, 3, size, size, generator=generator))


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


def prove(model: Model, path: Path, probes: Sequence[Probe]) -> Parity:
    """Check a file with onnx.checker and compare its logits with PyTorch's.

    Batches of one, and of all images of a probe, are both run if the file's batch is dynamic.

    Raises:
        CheckError: if the file is invalid, a logit differs by more than 1e-4, or one image gets
            another class.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CheckError(f"the exported ONNX file is not valid: {error}") from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst, agree, total = 0.0, 0, 0
    for probe in probes:
        with torch.inference_mode():
            expected = model.module.eval()(probe.images).numpy()
        found = _run(session, probe.images.numpy())
        worst = max(worst, float(np.abs(found - expected).max()))
        agree += int((found.argmax(1) == expected.argmax(1)).sum())
        total += len(expected)
    parity = Parity(
        max_abs=worst,
        top1_agreement=100 * agree / total,
        n=total,
        inputs=[probe.name for probe in probes],
    )
    if not worst <= MAX_ABS or agree < total:  # a NaN fails too
        raise CheckError(
            f"the ONNX file differs from PyTorch: largest difference {worst:.2g} (limit"
            f" {MAX_ABS:g}), top-1 agreement {parity.top1_agreement:.1f} % (limit 100 %)"
        )
    return parity


def _run(session: onnxruntime.InferenceSession, images: np.ndarray) -> np.ndarray:
    """Run images in batches of the file's own size, or one alone and the rest together."""
    fixed = session.get_inputs()[0].shape[0]
    if isinstance(fixed, int):
        padding = -len(images) % fixed
        padded = np.concatenate([images, images[:1].repeat(padding, 0)])
        parts = [padded[i : i + fixed] for i in range(0, len(padded), fixed)]
    else:
        parts = [images[:1], images[1:]] if len(images) > 1 else [images]
    outputs = [session.run([OUTPUT], {INPUT: part})[0] for part in parts]
    return np.concatenate(outputs)[: len(images)]
