"""An exported file as something that can be evaluated."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgeprune.errors import ModelError, UsageError, one_of
from edgeprune.images import Preprocess
from edgeprune.onnx_runner import OnnxRunner, Runner
from edgeprune.schema import Selection
from edgeprune.selection import SELECTIONS

_HINT = "edgeprune export writes files that say how they want their images"


@dataclass(frozen=True)
class OnnxModel:
    """An exported file that is open, and what it says of itself: ONNX on the CPU, or an engine.

    Attributes:
        name: the model's name.
        classes: class names in the order of the logits.
        preprocess: how it wants its images.
        selection: how the weights were selected, or None if that is not known.
        fingerprint: ``weights_sha256`` of the artifact it was exported from, or None.
        runner: the open file.
    """

    name: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    selection: Selection | None
    fingerprint: str | None
    runner: Runner

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return fp32 logits ``(batch, classes)`` of normalised images ``(batch, 3, size, size)``.

        A file of fp16 or of pixels gets them in its own form.
        """
        return torch.from_numpy(self.runner.logits(images.numpy()))


def open_onnx(path: Path) -> OnnxModel:
    """Open an ONNX file that ``edgeprune export`` wrote.

    Raises:
        ModelError: if it is missing, no ONNX file, or its metadata do not say how it wants its
            images and which classes it knows.
    """
    if not path.is_file():
        raise ModelError(f"ONNX file {str(path)!r} does not exist")
    try:
        runner = OnnxRunner(path)
    except Exception as error:  # onnxruntime has an error class per status and no common one
        reason = str(error).splitlines()[0][:200]
        raise ModelError(f"{str(path)!r} cannot be run by ONNX Runtime: {reason}") from error
    found = runner.metadata
    return OnnxModel(
        name=found.get("edgeprune.model", path.stem),
        classes=_classes(found, path),
        preprocess=_preprocess(found, path),
        selection=_selection(found, path),
        fingerprint=found.get("edgeprune.fingerprint") or None,
        runner=runner,
    )


def _classes(found: dict[str, str], path: Path) -> tuple[str, ...]:
    classes = _json(found, "edgeprune.classes", path)
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ModelError(
            f"{str(path)!r} does not name its classes",
            hint="export an artifact that edgeprune finetune wrote",
        )
    return tuple(classes)


def _preprocess(found: dict[str, str], path: Path) -> Preprocess:
    facts = _json(found, "edgeprune.preprocess", path)
    try:
        mean, std = (tuple(float(value) for value in facts[key]) for key in ("mean", "std"))
        if len(mean) != 3 or len(std) != 3:
            raise ValueError("mean and std need three values each")
        return Preprocess(int(facts["img_size"]), mean, std, str(facts["interpolation"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{str(path)!r}: metadata 'edgeprune.preprocess' are damaged: {error}", hint=_HINT
        ) from None


def _selection(found: dict[str, str], path: Path) -> Selection | None:
    value = found.get("edgeprune.selection")
    try:
        return one_of(value, "selection", SELECTIONS) if value is not None else None
    except UsageError as error:
        raise ModelError(f"{str(path)!r}: metadata 'edgeprune.selection': {error}") from None


def _json(found: dict[str, str], key: str, path: Path) -> Any:
    if key not in found:
        raise ModelError(f"{str(path)!r} has no metadata {key!r}", hint=_HINT)
    try:
        return json.loads(found[key])
    except json.JSONDecodeError as error:
        raise ModelError(
            f"{str(path)!r}: metadata {key!r} are damaged: {error}", hint=_HINT
        ) from None
