"""From what a person types for MODEL to a model."""

from __future__ import annotations

from pathlib import Path

from edgeprune import artifact
from edgeprune.errors import ArtifactError
from edgeprune.model import DenseOptions, Model, create


def load_model(reference: str, dense: DenseOptions | None = None) -> Model:
    """Load an artifact directory, or make the dense timm model of that name.

    Raises:
        ArtifactError: if ``reference`` is a directory but no sound artifact.
        ModelError: if it is neither an artifact nor a supported timm model.
    """
    path = Path(reference)
    if artifact.is_artifact(path):
        return artifact.load(path)
    if path.is_dir() or "/" in reference:
        raise ArtifactError(f"{reference!r} is no artifact directory: it has no edgeprune.json")
    return create(reference, dense or DenseOptions())
