"""Self-attention whose heads and head dims are free: each a width of its own.

timm ties the inner width to the embedding (``C = heads * head_dim``) and hides q, k and v in
one tensor, which a dependency graph cannot follow. Here the packed projection and the mixing of
tokens are two modules, and each of their output channels stands for one dim of one head: cutting
channel ``h * head_dim + d`` cuts row d of head h from q, k and v and column d of head h from the
output projection. While a graph is traced both show exactly that, one channel in, one out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn
from torch_pruning import BasePruningFunc


class PackedQKV(nn.Linear):
    """Projection to q, k and v: ``(batch, tokens, dim) -> (batch, tokens, 3 * channels)``."""

    tracing = False

    @property
    def channels(self) -> int:
        """Inner width of the attention, ``heads * head_dim``."""
        return self.out_features // 3

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Project; while a graph is traced, one output stands for the q, k and v of a channel."""
        if self.tracing:
            return F.linear(input, self.weight.detach()[: self.channels])
        return super().forward(input)


class HeadMixer(nn.Module):
    """Scaled dot-product attention: ``(batch, tokens, 3 * channels) -> (batch, tokens, channels)``.

    Attributes:
        scale: factor on the scores. It stays that of the dense head when dims inside heads are
            pruned, since the kept dims then give nearly the same scores.
        relative_position_bias_table: BEiT's learned bias, ``(distances, heads)``, or None.
    """

    tracing = False

    def __init__(
        self,
        heads: int,
        head_dim: int,
        scale: float,
        bias_table: nn.Parameter | None = None,
        bias_index: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim
        self.scale = scale
        self.relative_position_bias_table = bias_table
        self.register_buffer("relative_position_index", bias_index, persistent=False)
        self.relative_position_index: torch.Tensor | None

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        """Mix tokens by attention, each head by its own weights."""
        if self.tracing:
            return packed * 1.0
        batch, tokens, _ = packed.shape
        shape = (batch, tokens, 3, self.heads, self.head_dim)
        q, k, v = packed.reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(
            q, k, v, attn_mask=self._position_bias(), scale=self.scale
        )
        # contiguous: the ONNX exporter cannot view the strides that attention with a mask returns
        return mixed.transpose(1, 2).contiguous().view(batch, tokens, self.heads * self.head_dim)

    def _position_bias(self) -> torch.Tensor | None:
        """Relative position bias, ``(1, heads, tokens, tokens)``.

        A table with a leading batch axis gives every image its own bias: that is how
        per-sample gradients of the table are taken.
        """
        table, index = self.relative_position_bias_table, self.relative_position_index
        if table is None or index is None:
            return None
        bias = table[..., index, :].movedim(-1, -3)
        return bias if bias.dim() == 4 else bias.unsqueeze(0)


class Attention(nn.Module):
    """Multi-head self-attention, ``(batch, tokens, dim) -> (batch, tokens, dim)``."""

    def __init__(self, qkv: PackedQKV, mix: HeadMixer, proj: nn.Linear) -> None:
        super().__init__()
        self.qkv = qkv
        self.mix = mix
        self.proj = proj

    def forward(self, x: torch.Tensor, **context: object) -> torch.Tensor:
        """Attend every token to all tokens.

        Raises:
            ValueError: if timm's block passes a mask or a shared bias; families refuse the
                models that need one.
        """
        if any(value is not None and value is not False for value in context.values()):
            raise ValueError("masked attention is not supported")
        mixed: torch.Tensor = self.proj(self.mix(self.qkv(x)))
        return mixed


def pack(weight: nn.Parameter, bias: nn.Parameter | None) -> PackedQKV:
    """Make a packed projection that shares ``weight`` and ``bias``."""
    layer = PackedQKV(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = weight
    layer.bias = bias  # type: ignore[assignment]
    return layer


class PackedQKVPruner(BasePruningFunc):  # type: ignore[misc]
    """Cuts a channel of :class:`PackedQKV`: a row of q, of k and of v each."""

    TARGET_MODULES = PackedQKV

    def prune_out_channels(self, layer: PackedQKV, idxs: Sequence[int]) -> PackedQKV:
        """Remove the rows of channels ``idxs``."""
        channels = layer.channels
        keep = torch.tensor(sorted(set(range(channels)) - set(idxs)))
        rows = torch.cat([keep, keep + channels, keep + 2 * channels])
        layer.weight = nn.Parameter(layer.weight.detach()[rows])
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias.detach()[rows])
        layer.out_features = len(rows)
        return layer

    def prune_in_channels(self, layer: PackedQKV, idxs: Sequence[int]) -> PackedQKV:
        """Remove the columns of embedding channels ``idxs``."""
        keep = torch.tensor(sorted(set(range(layer.in_features)) - set(idxs)))
        layer.weight = nn.Parameter(layer.weight.detach()[:, keep])
        layer.in_features = len(keep)
        return layer

    def get_out_channels(self, layer: PackedQKV) -> int:
        """Return the number of channels (a third of the rows)."""
        return layer.channels

    def get_in_channels(self, layer: PackedQKV) -> int:
        """Return the number of embedding channels."""
        return layer.in_features


class HeadMixerPruner(BasePruningFunc):  # type: ignore[misc]
    """Cuts channels of :class:`HeadMixer`: whole heads, or as many dims from every head."""

    TARGET_MODULES = HeadMixer

    def prune_out_channels(self, layer: HeadMixer, idxs: Sequence[int]) -> HeadMixer:
        """Remove channels ``idxs``; what is left of every head must be equally wide."""
        left = torch.ones(layer.heads * layer.head_dim, dtype=torch.bool)
        left[list(idxs)] = False
        dims_left = left.view(layer.heads, layer.head_dim).sum(1)
        heads_left = torch.nonzero(dims_left).flatten()
        widths = dims_left[heads_left].unique()
        if len(widths) != 1:
            raise ValueError("every head that stays must keep the same number of dims")
        if layer.relative_position_bias_table is not None:
            layer.relative_position_bias_table = nn.Parameter(
                layer.relative_position_bias_table.detach()[:, heads_left]
            )
        layer.heads = len(heads_left)
        layer.head_dim = int(widths[0])
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: HeadMixer) -> int:
        """Return ``heads * head_dim``."""
        return layer.heads * layer.head_dim

    get_in_channels = get_out_channels


def pruners() -> dict[type[nn.Module], BasePruningFunc]:
    """Return fresh pruning functions for this module's layers, as torch-pruning wants them."""
    return {PackedQKV: PackedQKVPruner(), HeadMixer: HeadMixerPruner()}


@contextmanager
def traced(module: nn.Module) -> Iterator[None]:
    """Let attention show its channels to a dependency graph instead of computing."""
    parts = [part for part in module.modules() if isinstance(part, (PackedQKV, HeadMixer))]
    for part in parts:
        part.tracing = True
    try:
        yield
    finally:
        for part in parts:
            part.tracing = False


def dense_scale(head_dim: int) -> float:
    """Return the usual scale of attention scores, ``1 / sqrt(head_dim)``."""
    return 1.0 / math.sqrt(head_dim)
