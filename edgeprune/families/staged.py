"""What Swin and SwinV2 share: stages of window blocks, each with a residual stream of its own."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from edgeprune.errors import ModelError
from edgeprune.families import merging, mlp
from edgeprune.families.base import ChannelGroup, Family, WidthKey
from edgeprune.families.layers import (
    Dropped,
    drop,
    require_norm,
    resize_conv_outputs,
    resize_linear,
    resize_norm,
)
from edgeprune.families.windows import WindowAttention


class StagedFamily(Family):
    """A patch embedding, stages that begin with patch merging (but the first), a classifier.

    The streams cannot be given other coordinates: four neighbours are merged under one norm, or
    norms write to the stream. Their channels are dropped.

    Attributes:
        model_class: timm's class.
        norm_first: whether norms come before what they belong to.
    """

    model_class: type[nn.Module]
    norm_first: bool

    @abstractmethod
    def attention(self, old: Any, windows: int) -> WindowAttention:
        """Make the prunable attention of a timm block, sharing its parameters.

        Args:
            old: timm's attention.
            windows: windows of one image.
        """

    def adapt(self, module: Any) -> nn.Module:
        """See :meth:`Family.adapt`."""
        self._check(module)
        for stage in module.layers:
            if hasattr(stage.downsample, "reduction"):
                stage.downsample = merging.prunable(stage.downsample, norm_first=self.norm_first)
            for block in stage.blocks:
                block.mlp = mlp.prunable(block.mlp)
                block.attn = self.attention(block.attn, _windows(block))
                # made on the CPU even for a meta model: it is derived, not stored
                block.attn_mask = block.get_attn_mask(device=torch.device("cpu"))
        return module  # type: ignore[no-any-return]

    def _check(self, module: Any) -> None:
        kind = type(module)
        if not issubclass(kind, self.model_class):
            raise ModelError(f"models of class {kind.__name__} are not supported yet")
        if module.dynamic_img_size:
            raise ModelError("windows for images of any size are not supported yet")
        if module.global_pool != "avg":
            raise ModelError(f"pooling {module.global_pool!r} is not supported yet")
        require_norm(module.norm)  # all norms are of one kind

    def groups(self, module: Any) -> list[ChannelGroup]:
        """See :meth:`Family.groups`."""
        found: list[ChannelGroup] = []
        for index, stage in enumerate(module.layers):
            merges = f"layers.{index}.downsample.reduction"
            root = "patch_embed.proj" if index == 0 else merges
            width = module.get_submodule(root).weight.shape[0]
            groups = [ChannelGroup(_stream(index), root, width, ("embed",))]
            for path, block in _present(stage, index):
                groups += _block_groups(path, block)
            found += [replace(group, stage=f"layers.{index}") for group in groups]
        return found

    def free_parameters(self, module: Any) -> list[tuple[nn.Parameter, int]]:
        """See :meth:`Family.free_parameters`."""
        return []

    def resize(self, module: Any, widths: Mapping[WidthKey, int]) -> None:
        """See :meth:`Family.resize`."""
        for path in self.blocks(module):
            if not any(name.startswith(f"{path}.") for name, _ in widths):
                drop(module, path)
        expected = {(width.name, width.dim) for width in self.widths(module)}
        if expected != set(widths):
            odd = sorted(expected ^ set(widths))[0]
            raise ModelError(f"widths do not fit the model: {'.'.join(odd)}")
        before = widths[_stream(0), "embed"]
        resize_conv_outputs(module.patch_embed.proj, before)
        resize_norm(module.patch_embed.norm, before)
        for index, stage in enumerate(module.layers):
            embed = widths[_stream(index), "embed"]
            if index:
                merging.resize(stage.downsample, before, embed)
            for path, block in _present(stage, index):
                _resize_block(block, path, embed, widths)
            before = embed
        resize_norm(module.norm, before)
        resize_linear(module.head.fc, inputs=before)
        self.refresh(module)

    def trunk(self, module: Any) -> list[str]:
        """See :meth:`Family.trunk`."""
        found = []
        for index, stage in enumerate(module.layers):
            found += [f"layers.{index}.downsample"] if index else []
            found += [path for path, _ in _present(stage, index)]
        return found

    def blocks(self, module: Any) -> list[str]:
        """See :meth:`Family.blocks`."""
        stages = enumerate(module.layers)
        return [path for index, stage in stages for path, _ in _present(stage, index)]

    def refresh(self, module: Any) -> None:
        """See :meth:`Family.refresh`."""
        streams = [group.channels for group in self.groups(module) if group.dims == ("embed",)]
        for stage, info, width in zip(module.layers, module.feature_info, streams, strict=True):
            info["num_chs"] = width
            for block in stage.blocks:
                block.dim = width
        module.embed_dim = streams[0]
        module.num_features = module.head_hidden_size = streams[-1]
        module.head.in_features = module.head.num_features = streams[-1]


def _stream(stage: int) -> str:
    """Return the name of the channel group of a stage's residual stream."""
    return f"layers.{stage}.embed"


def _present(stage: Any, index: int) -> list[tuple[str, Any]]:
    """Return path and block of every block of a stage that was not dropped."""
    return [
        (f"layers.{index}.blocks.{number}", block)
        for number, block in enumerate(stage.blocks)
        if not isinstance(block, Dropped)
    ]


def _windows(block: Any) -> int:
    """Return how many windows the tokens of an image make, those at the edge filled up."""
    sizes = zip(block.input_resolution, block.window_size, strict=True)
    return math.prod(math.ceil(tokens / size) for tokens, size in sizes)


def _block_groups(path: str, block: Any) -> list[ChannelGroup]:
    mix = block.attn.mix
    hidden = mlp.hidden_width(block.mlp)
    return [
        ChannelGroup(
            name=f"{path}.attn",
            root=f"{path}.attn.qkv",
            channels=mix.heads * mix.head_dim,
            dims=mix.dims,
            heads=mix.heads,
        ),
        ChannelGroup(f"{path}.mlp", f"{path}.mlp.{mlp.readers(block.mlp)[0]}", hidden, ("mlp",)),
    ]


def _resize_block(block: Any, path: str, embed: int, widths: Mapping[WidthKey, int]) -> None:
    mix = block.attn.mix
    name = f"{path}.attn"
    mix.resize(widths[name, "heads"], widths.get((name, "head_dim"), mix.head_dim))
    channels = mix.heads * mix.head_dim
    resize_linear(block.attn.qkv, inputs=embed, outputs=3 * channels)
    resize_linear(block.attn.proj, inputs=channels, outputs=embed)
    mlp.resize(block.mlp, embed, widths[f"{path}.mlp", "mlp"])
    for norm in (block.norm1, block.norm2):
        resize_norm(norm, embed)
