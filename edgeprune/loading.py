"""From what a person types for MODEL to a model."""

from __future__ import annotations

from pathlib import Path

from edgeprune import artifact
from edgeprune.errors import ArtifactError, UsageError
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


def load_only(reference: str, dense: DenseOptions) -> Model:
    """Load the one model of a command, to which all that is said about a dense model applies.

    Raises:
        UsageError: if it is an artifact and something else is said about it.
        ArtifactError, ModelError: as :func:`load_model`.
    """
    if not artifact.is_artifact(Path(reference)):
        return load_model(reference, dense)
    if dense.weights is not None:
        raise UsageError(f"--weights is for a dense timm model; artifact {reference!r} has its own")
    model = artifact.load(Path(reference))
    for name in ("num_classes", "img_size"):
        asked, has = getattr(dense, name), getattr(model.record, name)
        if asked not in (None, has):
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} {asked} is for a dense timm model; {reference!r} has {has}")
    return model
