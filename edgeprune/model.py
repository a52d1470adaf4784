"""A network together with the facts that travel with it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from torch import nn

from edgeprune import base_weights, families
from edgeprune.costs import count
from edgeprune.errors import EdgepruneError, ModelError
from edgeprune.images import Preprocess
from edgeprune.schema import ArtifactRecord, BaseWeights


@dataclass(frozen=True)
class DenseOptions:
    """How a dense timm model is made; None means what timm says."""

    num_classes: int | None = None
    img_size: int | None = None
    pretrained: bool = True
    weights: Path | None = None
    seed: int = 0


@dataclass(frozen=True)
class Model:
    """A network in its family's prunable form, and its record."""

    module: nn.Module
    record: ArtifactRecord

    @property
    def preprocess(self) -> Preprocess:
        """How the model wants its images."""
        record = self.record
        return Preprocess(record.img_size, record.mean, record.std, record.interpolation)

    def with_record(self, **facts: Any) -> Model:
        """Return the same network with other facts in its record."""
        return Model(self.module, self.record.model_copy(update=facts))


def create(name: str, options: DenseOptions) -> Model:
    """Make a dense timm model and put it into its family's prunable form.

    Raises:
        ModelError: if the name is unknown, no family supports it, its weights cannot be
            fetched, or ``options.weights`` do not fit.
    """
    check_dense(name, options)
    family = families.of(name)
    module = _build(name, options)
    if options.weights is not None:
        _load_weights(module, options.weights)
    base = _base(module, options)
    config = resolve_model_data_config(module)
    img_size = _img_size(module, config)
    module = _adapt(family, module, name).eval()
    cost = count(module, img_size)
    record = ArtifactRecord(
        model=name,
        family=family.name,
        num_classes=module.num_classes,
        img_size=img_size,
        mean=config["mean"],
        std=config["std"],
        interpolation=config["interpolation"],
        widths=family.widths(module),
        base=base,
        dense=cost,
        pruned=cost,
    )
    return Model(module=module, record=record)


def rebuild(record: ArtifactRecord) -> nn.Module:
    """Make the network that ``record`` describes, with parameters on the meta device.

    Raises:
        ModelError: if this version's timm or families cannot make it.
    """
    module = skeleton(record)
    widths = {(width.name, width.dim): width.width for width in record.widths}
    families.of(record.model).resize(module, widths)
    return module


def random_model(record: ArtifactRecord) -> Model:
    """Make a model of the recorded widths whose speed is that of any trained one.

    All its parameters are random. Biases of zero, with which a new model begins, would be left
    out of an exported file.
    """
    module = rebuild(record)
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(value.shape, generator=generator) * 0.02
        for name, value in module.state_dict().items()
    }
    module.load_state_dict(tensors, assign=True)
    return Model(module.eval(), record)


def skeleton(record: ArtifactRecord) -> nn.Module:
    """Make the dense network that ``record`` began as, with parameters on the meta device.

    Raises:
        ModelError: if this version's timm or families cannot make it.
    """
    check_name(record.model)
    family = families.of(record.model)
    with torch.device("meta"):
        module = _timm_model(record.model, record.num_classes, record.img_size)
    return _adapt(family, module, record.model)


def check_name(name: str) -> None:
    """Check that timm knows a model.

    Raises:
        ModelError: naming the nearest models.
    """
    if timm.is_model(name.split(".")[0]):
        return
    near = difflib.get_close_matches(name.lower(), timm.list_models(), n=3)
    raise ModelError(
        f"unknown model {name!r}: neither a timm model nor an artifact directory",
        hint=f"did you mean {', '.join(near)}?" if near else None,
    )


def check_dense(name: str, options: DenseOptions) -> None:
    """Check that a dense model can be made and pruned, before any weights are made or fetched.

    Raises:
        ModelError: if timm does not know it, no family supports it, or it takes no such images;
            if the weights are no file of the kind that is read.
    """
    check_name(name)
    family = families.of(name)
    with torch.device("meta"):
        shape = _build(name, replace(options, pretrained=False, weights=None))
    config = resolve_model_data_config(shape)
    _img_size(_adapt(family, shape, name), config)
    if options.weights is not None:
        check_weights_file(options.weights)


def check_weights_file(path: Path) -> None:
    """Check that a file may be read as weights. Raises ModelError."""
    if not path.exists():
        raise ModelError(f"weights file {str(path)!r} does not exist")
    if path.is_dir():
        raise ModelError(f"weights file {str(path)!r} is a directory; a .safetensors file is read")
    if path.suffix != ".safetensors":
        raise ModelError(f"weights file {str(path)!r} is not a .safetensors file")


def check_classes(model: Model, classes: Sequence[str]) -> None:
    """Check that a model classifies into these classes, in this order.

    Raises:
        ModelError: if the number of classes differs, or a name that the artifact records.
    """
    record = model.record
    if record.num_classes != len(classes):
        raise ModelError(
            f"the model has {record.num_classes} classes, the data have {len(classes)}",
            hint=f"a dense timm model takes --num-classes {len(classes)}",
        )
    check_class_names(record.class_names or classes, classes)


def check_class_names(recorded: Sequence[str], found: Sequence[str]) -> None:
    """Check that as many classes have the same names in the same order.

    Raises:
        ModelError: naming the first that differs.
    """
    for known, named in zip(recorded, found, strict=True):
        if known != named:
            raise ModelError(f"the model knows class {known!r} where the data have {named!r}")


def _adapt(family: families.Family, module: nn.Module, name: str) -> nn.Module:
    try:
        return family.adapt(module)
    except ModelError as error:
        raise ModelError(
            f"model {name!r} cannot be pruned: {error}",
            hint=f"supported families: {', '.join(families.family_names())}",
        ) from error


def _build(name: str, options: DenseOptions) -> nn.Module:
    from_hub = options.pretrained and options.weights is None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        try:
            return _timm_model(name, options.num_classes, options.img_size, pretrained=from_hub)
        except EdgepruneError:
            raise
        except Exception as error:
            if not from_hub:
                raise ModelError(
                    f"timm cannot make {name!r} with image size {options.img_size}: {error}"
                ) from error
            raise ModelError(
                f"the pre-trained weights of {name!r} could not be fetched"
                f" ({type(error).__name__})",
                hint="--weights FILE reads a local file, --no-pretrained starts from random",
            ) from error


def _base(module: nn.Module, options: DenseOptions) -> BaseWeights:
    if options.weights is not None:
        return base_weights.of_file(options.weights)
    return base_weights.of_hub(module) if options.pretrained else base_weights.RANDOM


def _timm_model(
    name: str, num_classes: int | None, img_size: int | None, *, pretrained: bool = False
) -> nn.Module:
    arguments: dict[str, Any] = {"pretrained": pretrained}
    if num_classes is not None:
        arguments["num_classes"] = num_classes
    if img_size is not None:
        arguments["img_size"] = img_size
    model: nn.Module = timm.create_model(name, **arguments)
    if not getattr(model, "num_classes", 0):
        raise ModelError(f"{name!r} has no classifier", hint="give it one: --num-classes N")
    return model


def _img_size(module: Any, config: dict[str, Any]) -> int:
    height, width = module.patch_embed.img_size or config["input_size"][1:]
    if height != width:
        raise ModelError(f"image size {height}x{width}: only square images are supported")
    patch = max(module.patch_embed.patch_size)
    if height < patch:
        raise ModelError(f"image size {height} is not accepted; {patch} (one patch) or more is")
    return int(height)


def _load_weights(module: nn.Module, path: Path) -> None:
    """Load a safetensors file; the classifier may be absent, nothing else."""
    from edgeprune.artifact import read_tensors

    check_weights_file(path)
    found = read_tensors(path)
    expected = module.state_dict()
    head = {key for key in expected if key.split(".")[0] in ("head", "head_dist")}
    missing = sorted(expected.keys() - found.keys() - head)
    unknown = sorted(found.keys() - expected.keys())
    if missing or unknown:
        raise ModelError(
            f"weights file {str(path)!r} does not fit: "
            + (f"{missing[0]!r} is missing" if missing else f"{unknown[0]!r} is not in the model")
            + f" ({len(missing)} missing, {len(unknown)} unknown)"
        )
    for key, tensor in found.items():
        if tensor.shape != expected[key].shape:
            raise ModelError(
                f"weights file {str(path)!r}: {key!r} has shape {tuple(tensor.shape)};"
                f" {tuple(expected[key].shape)} was expected"
            )
    module.load_state_dict(found, strict=False)
