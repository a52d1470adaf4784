"""A TensorRT engine as something that can be evaluated."""

from __future__ import annotations

from pathlib import Path

from edgeprune.engines.runner import EngineRunner, open_engine
from edgeprune.errors import ModelError
from edgeprune.images import Preprocess
from edgeprune.training.onnx_model import OnnxModel


def open_engine_model(path: Path) -> OnnxModel:
    """Open an engine that ``edgeprune export`` built, on this machine's GPU.

    Raises:
        EngineError: if it is missing or not sound.
        ModelError: if it does not know the names of its classes.
        UnavailableError: if there is no GPU or no TensorRT, or it does not fit this machine.
    """
    return as_model(open_engine(path), path)


def as_model(runner: EngineRunner, path: Path) -> OnnxModel:
    """Return a loaded engine with what its record says. Raises ModelError."""
    record = runner.record
    if record.class_names is None:
        raise ModelError(
            f"{str(path)!r} does not name its classes",
            hint="export an artifact that edgeprune finetune wrote",
        )
    facts = record.preprocess
    return OnnxModel(
        name=record.model,
        classes=tuple(record.class_names),
        preprocess=Preprocess(facts.img_size, facts.mean, facts.std, facts.interpolation),
        selection=record.selection,
        fingerprint=record.fingerprint,
        runner=runner,
    )
