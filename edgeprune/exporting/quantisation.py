"""int8 within a limit on accuracy: quantise all layers, then take back those that harm most."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from onnxscript import ir

from edgeprune.errors import CheckError
from edgeprune.exporting.accuracy import Answers, compare, pooled
from edgeprune.exporting.calibration import activation_ranges
from edgeprune.exporting.int8 import FLAVOURS, quantise_dynamic, quantise_static
from edgeprune.exporting.onnx import metadata, write
from edgeprune.exporting.sensitivity import harm
from edgeprune.exporting.settings import Int8Settings
from edgeprune.model import Model
from edgeprune.onnx_runner import OnnxRunner
from edgeprune.progress import SILENT, Progress
from edgeprune.pruning.calibration import BATCH, calibrate
from edgeprune.schema import Int8Facts, KeptLayer

# Enough to order layers by; what they take and give is all held at once, so one image at a time.
HARM_IMAGES = 32


def quantise(
    model: Model,
    found: ir.Model,
    expected: Answers,
    settings: Int8Settings,
    *,
    seed: int = 0,
    progress: Progress = SILENT,
) -> tuple[ir.Model, list[KeptLayer], Int8Facts]:
    """Return a model in int8, the layers that stayed in fp32, and how it was made.

    Layers stay in fp32 until accuracy on the source domains' validation images is within
    ``settings.max_drop`` points of PyTorch's. The target is not looked at.

    Args:
        model: the network in PyTorch.
        found: the same, exported in fp32; it is not changed.
        expected: PyTorch's answers on the images that decide.
        settings: how to quantise.
        seed: of the choice of calibration images.
        progress: where to say what is being done.

    Raises:
        CheckError: if no layer can be quantised within the limit.
        DataError: if an image cannot be read.
    """
    labelled, flavour = expected.labelled, FLAVOURS[settings.runtime]
    calibration = calibrate(
        labelled.dataset,
        labelled.split,
        model.preprocess,
        samples=settings.samples,
        seed=seed,
        progress=progress,
    )

    def batches(size: int = BATCH) -> Iterator[torch.Tensor]:
        return (images for images, _ in calibration.batches(batch=size))

    static = settings.mode == "static"
    ranges = activation_ranges(found, batches, settings.method, progress) if static else None

    def quantised(keep: Sequence[str]) -> ir.Model:
        copy = found.clone()
        if ranges is None:
            quantise_dynamic(copy, flavour, keep)
        else:
            quantise_static(copy, ranges, flavour, keep)
        return copy

    def drop(keep: Sequence[str]) -> float:
        with tempfile.TemporaryDirectory(prefix="edgeprune-") as scratch:
            path = Path(scratch) / "model.onnx"
            write(quantised(keep), path, metadata(model, "int8"))
            scores = compare(expected, OnnxRunner(path), progress, sources_only=True)
        fallen = pooled(expected, scores).drop
        progress.say(
            f"int8 with {len(keep)} layers in fp32: {fallen:+.2f} points lost on source validation"
        )
        return fallen

    kept: list[KeptLayer] = []
    if drop([]) > settings.max_drop:
        progress.say("looking for the layers that int8 harms most")
        harms = harm(model, found, ranges, flavour, islice(batches(1), HARM_IMAGES), seed)
        order = sorted(harms, key=lambda name: -harms[name])
        count = fewest(lambda number: drop(order[:number]) <= settings.max_drop, len(order) - 1)
        if count is None:
            raise CheckError(
                f"no layer can be int8 without losing more than {settings.max_drop:g} points on"
                " source validation",
                hint="another --calibration, more --samples, or a higher --max-drop",
            )
        kept = [KeptLayer(name=name, reason="accuracy", harm=harms[name]) for name in order[:count]]
    facts = Int8Facts(
        mode=settings.mode,
        runtime=settings.runtime,
        calibration=settings.method if static else None,
        data=calibration.facts if static else None,
    )
    return quantised([layer.name for layer in kept]), kept, facts


def fewest(holds: Callable[[int], bool], most: int) -> int | None:
    """Return the least number from 1 to ``most`` for which ``holds`` is true; None if none is.

    Numbers are doubled until one holds, then halved towards the last that did not: what holds for
    a number is taken to hold for all above.
    """
    low, high = 0, 1
    while high <= most and not holds(high):
        low, high = high, 2 * high if 2 * high <= most or high == most else most
        if low == most:
            return None
    if high > most:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
