"""The artifact directory: ``model.safetensors`` and ``edgeprune.json``.

Fine-tuning adds ``predictions.safetensors``; nothing but figures needs it.

Nothing in it is executable: weights are safetensors, everything else is JSON.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from edgeprune.errors import ArtifactError
from edgeprune.files import output_directory, sha256
from edgeprune.model import Model, rebuild
from edgeprune.predictions import PREDICTIONS_FILE, Predictions, to_bytes
from edgeprune.schema import ArtifactRecord, read_document

WEIGHTS_FILE = "model.safetensors"
RECORD_FILE = "edgeprune.json"


def is_artifact(path: Path) -> bool:
    """Tell whether ``path`` is meant as an artifact directory."""
    return path.is_dir() and (path / RECORD_FILE).exists()


def save(
    model: Model, path: Path, *, force: bool = False, predictions: Predictions | None = None
) -> Model:
    """Write ``model`` as an artifact directory, atomically, with its predictions if there are any.

    Returns the model with the record as written (with the hash of its weights).

    Raises:
        OutputError: if ``path`` cannot be written, is not empty, or the disk is full.
    """
    with output_directory(path, force=force) as scratch:
        saved = write(model, scratch)
        if predictions is not None:
            digest = saved.record.weights_sha256
            facts = predictions.facts.model_copy(update={"weights_sha256": digest})
            (scratch / PREDICTIONS_FILE).write_bytes(to_bytes(replace(predictions, facts=facts)))
        return saved


def write(model: Model, directory: Path) -> Model:
    """Write the two files of an artifact into an existing directory."""
    tensors = {name: value.contiguous() for name, value in model.module.state_dict().items()}
    (directory / WEIGHTS_FILE).write_bytes(safetensors.torch.save(tensors))
    digest = sha256(directory / WEIGHTS_FILE)
    record = model.record.model_copy(update={"weights_sha256": digest})
    (directory / RECORD_FILE).write_text(record.to_json(), encoding="utf-8")
    return Model(module=model.module, record=record)


def read_record(path: Path) -> ArtifactRecord:
    """Read ``edgeprune.json`` alone.

    Raises:
        ArtifactError: if it is missing, damaged or of another schema.
    """
    if not path.is_dir():
        raise ArtifactError(f"artifact {str(path)!r} is not a directory")
    return read_document(path / RECORD_FILE, ArtifactRecord, ArtifactError)


def load(path: Path) -> Model:
    """Load an artifact; its logits are bit-identical to those of the model that was saved.

    Raises:
        ArtifactError: if a file is missing, truncated or changed, the schema is another one,
            or a tensor is missing or has another shape than the recorded widths say.
    """
    record = read_record(path)
    weights = path / WEIGHTS_FILE
    if not weights.is_file():
        raise ArtifactError(f"artifact {str(path)!r} has no {WEIGHTS_FILE}")
    tensors = read_tensors(weights)
    module = rebuild(record)
    check_tensors(tensors, module.state_dict(), str(path))
    if sha256(weights) != record.weights_sha256:
        raise ArtifactError(
            f"artifact {str(path)!r}: {WEIGHTS_FILE} is not the file that was saved"
            " (its SHA-256 differs)"
        )
    module.load_state_dict(tensors, assign=True)
    return Model(module=module.eval(), record=record)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises:
        ArtifactError: if it is truncated or no safetensors file.
    """
    try:
        # Cloned: a mapped file aligns tensors to 8 bytes only, and matrix kernels round
        # differently there, so that logits would not be bit-identical.
        return {name: tensor.clone() for name, tensor in safetensors.torch.load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{str(path)!r} is not a readable safetensors file: {error}") from None


def check_tensors(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], source: str
) -> None:
    """Check names and shapes of tensors before any is loaded.

    Raises:
        ArtifactError: naming the first tensor that is missing, unknown or of another shape.
    """
    for name, tensor in expected.items():
        if name not in found:
            raise ArtifactError(f"{source!r}: tensor {name!r} is missing")
        if found[name].shape != tensor.shape:
            raise ArtifactError(
                f"{source!r}: tensor {name!r} has shape {tuple(found[name].shape)};"
                f" {tuple(tensor.shape)} was expected"
            )
    unknown = sorted(found.keys() - expected.keys())
    if unknown:
        raise ArtifactError(f"{source!r}: tensor {unknown[0]!r} is not part of the model")
