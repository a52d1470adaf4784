"""What ViT, DeiT, BEiT and EVA share: a patch embedding, equal blocks, a classifier.

A family of that shape says in data where its parts are and how its attention is rebuilt.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import nn

from edgeprune.errors import ModelError
from edgeprune.families import mlp, pool
from edgeprune.families.attention import Attention
from edgeprune.families.base import Branch, ChannelGroup, Family, Stream, WidthKey
from edgeprune.families.layers import (
    Dropped,
    drop,
    require_absent,
    require_norm,
    resize_conv_outputs,
    resize_linear,
    resize_norm,
    resize_parameter,
)

# Ways to make one vector of the tokens: the class token, their mean, or an attention pool.
POOLS = ("token", "avg", "map")


class TransformerFamily(Family):
    """A transformer with ``patch_embed``, ``blocks``, norms and one or more linear heads.

    It may end in an attention pool; what can be cut there is listed last.

    Attributes:
        tokens: model parameters whose last axis is the embedding.
        block_scales: parameters of a block (dotted path) that scale what attention and MLP add to
            the stream; a block need not have them.
        norms: norms of the model, outside the blocks.
        heads: classifiers, each linear.
    """

    tokens: tuple[str, ...] = ("cls_token", "pos_embed")
    block_scales: tuple[str, str]
    norms: tuple[str, ...] = ("norm", "fc_norm")
    heads: tuple[str, ...] = ("head",)

    @abstractmethod
    def attention(self, block: Any) -> Attention:
        """Make the prunable attention of a timm block, sharing its parameters.

        Raises:
            ModelError: if the block's attention has a part that is not supported.
        """

    @abstractmethod
    def check(self, module: Any) -> None:
        """Refuse models of the right class that use a part which is not supported.

        Raises:
            ModelError: naming the part.
        """

    def adapt(self, module: Any) -> nn.Module:
        """See :meth:`Family.adapt`."""
        self.check(module)
        self._check_shared(module)
        _fix_image_size(module)
        for block in module.blocks:
            block.mlp = mlp.prunable(block.mlp)
            block.attn = self.attention(block)
        if _pool(module) is not None:
            module.attn_pool = pool.prunable(module.attn_pool)
        return module  # type: ignore[no-any-return]

    def _check_shared(self, module: Any) -> None:
        if module.global_pool not in POOLS:
            raise ModelError(f"pooling {module.global_pool!r} is not supported yet")
        require_absent(module, ("patch_drop",))
        require_absent(module.patch_embed, ("norm",))
        for owner in (module, *module.blocks):
            for name in (*self.norms, "norm1", "norm2"):
                require_norm(getattr(owner, name, nn.Identity()))

    def groups(self, module: Any) -> list[ChannelGroup]:
        """See :meth:`Family.groups`."""
        found = [ChannelGroup("embed", "patch_embed.proj", module.embed_dim, ("embed",))]
        for prefix, block in _present(module):
            mix = block.attn.mix
            found.append(
                ChannelGroup(
                    name=f"{prefix}.attn",
                    root=f"{prefix}.attn.qkv",
                    channels=mix.heads * mix.head_dim,
                    dims=mix.dims,
                    heads=mix.heads,
                )
            )
            root = f"{prefix}.mlp.{mlp.readers(block.mlp)[0]}"
            found.append(ChannelGroup(f"{prefix}.mlp", root, mlp.hidden_width(block.mlp), ("mlp",)))
        return found if _pool(module) is None else [*found, *pool.groups(module.attn_pool)]

    def free_parameters(self, module: Any) -> list[tuple[nn.Parameter, int]]:
        """See :meth:`Family.free_parameters`."""
        found = [(getattr(module, name, None), 2) for name in self.tokens]
        for _, block in _present(module):
            found += [(_attribute(block, path), 0) for path in self.block_scales]
        return [(parameter, axis) for parameter, axis in found if parameter is not None]

    def resize(self, module: Any, widths: Mapping[WidthKey, int]) -> None:
        """See :meth:`Family.resize`."""
        for path in self.blocks(module):
            if not any(name.startswith(f"{path}.") for name, _ in widths):
                drop(module, path)
        expected = {(width.name, width.dim) for width in self.widths(module)}
        if expected != set(widths):
            odd = sorted(expected ^ set(widths))[0]
            raise ModelError(f"widths do not fit the model: {'.'.join(odd)}")
        embed = widths["embed", "embed"]
        resize_conv_outputs(module.patch_embed.proj, embed)
        for name in self.tokens:
            if getattr(module, name, None) is not None:
                resize_parameter(module, name, 2, embed)
        for prefix, block in _present(module):
            self._resize_block(block, prefix, embed, widths)
        for name in self.norms:
            resize_norm(getattr(module, name), embed)
        if _pool(module) is not None:
            pool.resize(module.attn_pool, embed, widths)
        else:
            for name in self.heads:
                resize_linear(getattr(module, name), inputs=embed)
        self.refresh(module)

    def _resize_block(
        self, block: Any, prefix: str, embed: int, widths: Mapping[WidthKey, int]
    ) -> None:
        mix = block.attn.mix
        mix.heads = widths[f"{prefix}.attn", "heads"]
        mix.head_dim = widths.get((f"{prefix}.attn", "head_dim"), mix.head_dim)
        resize_parameter(mix, "relative_position_bias_table", 1, mix.heads)
        channels = mix.heads * mix.head_dim
        resize_linear(block.attn.qkv, inputs=embed, outputs=3 * channels)
        resize_linear(block.attn.proj, inputs=channels, outputs=embed)
        resize_norm(block.attn.norm, channels)
        mlp.resize(block.mlp, embed, widths[f"{prefix}.mlp", "mlp"])
        for norm in (block.norm1, block.norm2):
            resize_norm(norm, embed)
        for path in self.block_scales:
            owner, name = _owner(block, path)
            if getattr(owner, name, None) is not None:
                resize_parameter(owner, name, 0, embed)

    def trunk(self, module: Any) -> list[str]:
        """See :meth:`Family.trunk`."""
        return [path for path, _ in _present(module)]

    def blocks(self, module: Any) -> list[str]:
        """See :meth:`Family.blocks`."""
        return self.trunk(module)

    def streams(self, module: Any) -> list[Stream]:
        """See :meth:`Family.streams`.

        A norm before the first block (CLIP) has no reader that could absorb it, and without one
        after the last block (RADIO) the classifier sees the mean, which other coordinates lose.
        """
        last = [name for name in ("norm", "fc_norm") if _is_norm(module, name)]
        if _is_norm(module, "norm_pre") or not last:
            return []
        norms: list[tuple[str, tuple[str, ...]]] = []
        for prefix, block in _present(module):
            norms += [(f"{prefix}.norm1", (f"{prefix}.attn.qkv",))]
            inputs = tuple(f"{prefix}.mlp.{name}" for name in mlp.readers(block.mlp))
            norms += [(f"{prefix}.norm2", inputs)]
        branches = [branch for found in self.branches(module).values() for branch in found]
        scales = [(branch.scale, branch.writer) for branch in branches if branch.scale]
        final = self.heads if _pool(module) is None else (f"{pool.PATH}.kv",)
        norms += [(last[0], final)]
        return [Stream("embed", tuple(norms), tuple(scales))]

    def branches(self, module: Any) -> dict[str, tuple[Branch, ...]]:
        """See :meth:`Family.branches`."""
        found: dict[str, tuple[Branch, ...]] = {}
        for prefix, block in _present(module):
            scales = [
                f"{prefix}.{path}" if _attribute(block, path) is not None else None
                for path in self.block_scales
            ]
            found[prefix] = (
                Branch(f"{prefix}.norm1", f"{prefix}.attn.proj", scales[0]),
                Branch(f"{prefix}.norm2", f"{prefix}.mlp.fc2", scales[1]),
            )
        return found

    def refresh(self, module: Any) -> None:
        """See :meth:`Family.refresh`."""
        module.embed_dim = module.patch_embed.proj.out_channels
        module.num_features = module.head_hidden_size = module.head.in_features


def _present(module: Any) -> list[tuple[str, Any]]:
    """Return path and block of every block that was not dropped."""
    return [
        (f"blocks.{index}", block)
        for index, block in enumerate(module.blocks)
        if not isinstance(block, Dropped)
    ]


def _pool(module: Any) -> Any:
    return getattr(module, pool.PATH, None)


def _is_norm(module: Any, name: str) -> bool:
    return isinstance(getattr(module, name, None), nn.LayerNorm)


def _fix_image_size(module: Any) -> None:
    """Make a model that takes images of any size take one: patches arrive as a flat list."""
    if getattr(module, "dynamic_img_size", False):
        module.dynamic_img_size = False
        module.patch_embed.flatten = True
        module.patch_embed.strict_img_size = True


def _owner(block: nn.Module, path: str) -> tuple[Any, str]:
    *parents, name = path.split(".")
    owner: Any = block
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name


def _attribute(block: nn.Module, path: str) -> Any:
    owner, name = _owner(block, path)
    return getattr(owner, name, None)
