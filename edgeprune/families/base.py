"""What a family adapter answers, and the registry of adapters."""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import timm
from torch import nn

from edgeprune.errors import ModelError
from edgeprune.families import patch14
from edgeprune.schema import Width

# The dimensions that can be pruned, in the order in which they are shown.
DIMS = ("embed", "heads", "head_dim", "mlp")

WidthKey = tuple[str, str]


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that torch-pruning's graph cuts together, found from one root module.

    Attributes:
        name: where it sits, such as ``embed``, ``blocks.0.attn`` or ``blocks.0.mlp``.
        root: path of the module whose output channels are the group's channels.
        channels: how many there are; for attention ``heads * head_dim``.
        dims: dimensions that cutting them changes: ``embed``, ``mlp``, or ``heads`` and
            ``head_dim``; ``heads`` alone where all heads share what belongs to a dim.
        heads: number of heads; 0 outside attention. Channel ``h * head_dim + d`` is dim d of
            head h.
        stage: the stage that it is in, where stages have widths of their own; scores are only
            comparable inside one.
    """

    name: str
    root: str
    channels: int
    dims: tuple[str, ...]
    heads: int = 0
    stage: str = ""


@dataclass(frozen=True)
class Stream:
    """A residual stream: what must be known to give it other coordinates.

    Attributes:
        group: name of the channel group whose channels are the stream's.
        norms: paths of the norms that read it, each with the linear layers that read the norm.
        scales: paths of parameters that scale a writer's output, each with that linear layer.
    """

    group: str
    norms: tuple[tuple[str, tuple[str, ...]], ...]
    scales: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Branch:
    """A residual branch whose result one linear layer adds to the stream, token for token.

    Attributes:
        norm: path of the norm that it begins with: what that sees is the stream before it.
        writer: path of the linear layer that it ends with.
        scale: path of a parameter that scales the output of that layer, or None.
    """

    norm: str
    writer: str
    scale: str | None = None


class Family(ABC):
    """An architecture family: from timm's model to a prunable one and back from widths.

    A family holds no state; every method takes the module.
    """

    name: str

    @abstractmethod
    def covers(self, timm_name: str) -> bool:
        """Tell whether models of this timm name belong to the family."""

    @abstractmethod
    def adapt(self, module: nn.Module) -> nn.Module:
        """Put a timm model into prunable form, in place; its logits stay the same (1e-5).

        Raises:
            ModelError: if it uses a part that the family does not support.
        """

    @abstractmethod
    def groups(self, module: nn.Module) -> list[ChannelGroup]:
        """Return the channel groups of an adapted module at its present widths."""

    @abstractmethod
    def free_parameters(self, module: nn.Module) -> list[tuple[nn.Parameter, int]]:
        """Return parameters outside standard layers, each with the axis of its channels."""

    @abstractmethod
    def resize(self, module: nn.Module, widths: Mapping[WidthKey, int]) -> None:
        """Give a dense adapted module other widths; its parameters become uninitialised.

        A residual block that has no width at all becomes :class:`Dropped`.

        Raises:
            ModelError: if a width is missing or unknown.
        """

    @abstractmethod
    def trunk(self, module: nn.Module) -> list[str]:
        """Return the paths of the modules that run one after another on the residual stream.

        Each takes the tokens and what all images share, and returns the next tokens.
        """

    @abstractmethod
    def blocks(self, module: nn.Module) -> list[str]:
        """Return the paths of the residual blocks that are left and may be dropped."""

    def branch_ends(self, module: nn.Module) -> list[tuple[str, ...]]:
        """Return, for every residual block that is left, where its branches end.

        Each path is that of a module without parameters that sees what a branch adds to the stream
        and returns it in evaluation. Blocks are in their order, over all stages.
        """
        return [(f"{path}.drop_path1", f"{path}.drop_path2") for path in self.blocks(module)]

    def streams(self, module: nn.Module) -> list[Stream]:
        """Return the residual streams that can be given other coordinates.

        A stream on which a layer stands that no neighbour can absorb is not among them.
        """
        return []

    def branches(self, module: nn.Module) -> dict[str, tuple[Branch, ...]]:
        """Return the residual branches inside each module of the trunk, in their order.

        Modules with branches of another kind are not among them.
        """
        return {}

    @abstractmethod
    def refresh(self, module: nn.Module) -> None:
        """Put the attributes right that timm derives from widths, after channels were cut."""

    def widths(self, module: nn.Module) -> list[Width]:
        """Return the width of every prunable dimension."""
        return [width for group in self.groups(module) for width in group_widths(group)]


def group_widths(group: ChannelGroup) -> list[Width]:
    """Return the widths of the dimensions in which one group can be cut."""
    sizes = {"heads": group.heads, "head_dim": group.channels // max(group.heads, 1)}
    return [
        Width(name=group.name, dim=dim, width=sizes[dim] if group.heads else group.channels)
        for dim in group.dims
    ]


_REGISTRY: list[Family] = []


def register(family: Family) -> None:
    """Add a family; of two that cover a name, the one with the later name in the alphabet
    is asked last.
    """
    _REGISTRY.append(family)


def _load_all() -> list[Family]:
    package = importlib.import_module("edgeprune.families")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"edgeprune.families.{module.name}")
    return _REGISTRY


def family_names() -> list[str]:
    """Return the names of all families."""
    return sorted(family.name for family in _load_all())


def of(timm_name: str) -> Family:
    """Return the family of a timm model name.

    Raises:
        ModelError: if no family covers it, naming those that there are.
    """
    for family in _load_all():
        if family.covers(timm_name):
            return family
    raise ModelError(
        f"model {timm_name!r} belongs to no supported family; supported: "
        + ", ".join(family_names())
    )


def timm_module(timm_name: str) -> str:
    """Return the timm source module that defines a model, such as ``vision_transformer``.

    For a model that only edgeprune defines, the one whose models it is like.
    """
    name = timm_name.split(".")[0]
    if name in patch14.LIKE:
        return patch14.LIKE[name]
    entrypoint = timm.model_entrypoint(name)
    return str(entrypoint.__module__).rsplit(".", 1)[-1]
