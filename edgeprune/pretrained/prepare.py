"""Turning weights that an installed package carries into a file for ``--weights``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from edgeprune.errors import UnavailableError, UsageError, one_of
from edgeprune.files import check_parent_writable, output_file, sha256
from edgeprune.packages import find_package
from edgeprune.pretrained.registry import RECIPES, Recipe
from edgeprune.schema import Document, Facts

SUFFIX = ".safetensors"


class KnownWeights(Facts):
    """Weights that can be made here: for which timm model, from which package, licence.

    ``img_size`` is what they were trained at; ``version`` is null where the package is missing.
    """

    name: str
    model: str
    img_size: int
    patch_size: int
    package: str
    version: str | None
    source: str
    licence: str


class WeightsList(Document):
    """What ``edgeprune weights list`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/weights-list@1"

    weights: list[KnownWeights]


class WeightsPrepared(Document):
    """What ``edgeprune weights prepare`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/weights-prepare@1"

    name: str
    file: str
    model: str
    img_size: int
    package: str
    version: str
    source: str
    licence: str
    tensors: int
    params: int
    bytes: int
    sha256: str


def list_recipes() -> WeightsList:
    """Return every known recipe, and the version of its package if that is installed."""
    return WeightsList(
        weights=[
            KnownWeights(
                name=recipe.name,
                model=recipe.model,
                img_size=recipe.img_size,
                patch_size=recipe.patch_size,
                package=recipe.distribution,
                version=_version(recipe),
                source=recipe.source,
                licence=recipe.licence,
            )
            for recipe in RECIPES.values()
        ]
    )


def check_request(name: str, output: Path, img_size: int | None = None) -> None:
    """Check name, file name and image size before anything is read.

    Raises:
        UsageError: if one of them is not accepted.
        OutputError: if the file could not be written.
    """
    recipe = RECIPES[one_of(name, "weights", RECIPES)]
    if output.suffix != SUFFIX:
        raise UsageError(f"output {str(output)!r} is not accepted: its name must end in {SUFFIX}")
    if img_size is not None and (img_size < recipe.patch_size or img_size % recipe.patch_size):
        raise UsageError(
            f"image size {img_size} is not accepted: a multiple of the patch size"
            f" {recipe.patch_size} was expected"
        )
    check_parent_writable(output)


def prepare_weights(name: str, output: Path, *, img_size: int | None = None) -> WeightsPrepared:
    """Write the weights of a recipe as safetensors, atomically; ``--weights`` loads the file.

    What depends on the image size is made for ``img_size`` pixels; None keeps the size that the
    weights were trained at.

    Raises:
        UsageError, OutputError: as :func:`check_request`, or if the disk is full.
        UnavailableError: if the package that carries them is not installed.
        ModelError: if the package does not hold the expected network.
    """
    import safetensors.torch

    check_request(name, output, img_size)
    recipe = RECIPES[name]
    size = img_size or recipe.img_size
    package = find_package(recipe.module, recipe.distribution, "demo")
    tensors = recipe.read(size)
    facts = {
        "name": recipe.name,
        "model": recipe.model,
        "img_size": size,
        "package": f"{package.distribution} {package.version}",
        "source": recipe.source,
        "licence": recipe.licence,
    }
    # One key: the order of several is not the same in every run.
    metadata = {"edgeprune": json.dumps(facts)}
    with output_file(output) as scratch:
        scratch.write_bytes(safetensors.torch.save(tensors, metadata=metadata))
    return WeightsPrepared(
        name=recipe.name,
        file=str(output),
        model=recipe.model,
        img_size=size,
        package=package.distribution,
        version=package.version,
        source=recipe.source,
        licence=recipe.licence,
        tensors=len(tensors),
        params=sum(tensor.numel() for tensor in tensors.values()),
        bytes=output.stat().st_size,
        sha256=sha256(output),
    )


def _version(recipe: Recipe) -> str | None:
    try:
        return find_package(recipe.module, recipe.distribution, "demo").version
    except UnavailableError:
        return None
