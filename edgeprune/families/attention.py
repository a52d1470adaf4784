"""Self-attention whose heads and head dims are free: each a width of its own.

timm ties the inner width to the embedding (``C = heads * head_dim``) and hides q, k and v in
one tensor, which a dependency graph cannot follow. Here the packed projection and the mixing of
tokens are two modules, and each of their output channels stands for one dim of one head: cutting
channel ``h * head_dim + d`` cuts row d of head h from q, k and v and column d of head h from the
output projection. While a graph is traced both show exactly that, one channel in, one out.

What all heads share, norms of queries and keys and rotary positions, ties the dims inside heads
together: then only whole heads can go.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from torch import nn

from edgeprune.families.prunable import Prunable, Slice


class Packed(Prunable, nn.Linear):
    """Several projections in one: ``(batch, tokens, dim) -> (batch, tokens, parts * channels)``."""

    parts = 1

    @property
    def channels(self) -> int:
        """Inner width of the attention, ``heads * head_dim``."""
        return self.out_features // self.parts

    def slices(self, outputs: bool) -> list[Slice]:
        """Return a row of every part per channel, or a column per channel of the input."""
        if not outputs:
            return [(self.weight, 1, 0)]
        offsets = [part * self.channels for part in range(self.parts)]
        parameters = [p for p in (self.weight, self.bias) if p is not None]
        return [(parameter, 0, offset) for parameter in parameters for offset in offsets]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Project; while a graph is traced, one output stands for all parts of a channel."""
        if self.tracing:
            return F.linear(input, self.weight.detach()[: self.channels])
        return super().forward(input)

    def apart(self, input: torch.Tensor) -> list[torch.Tensor]:
        """Project by each part alone: the same numbers, ``(batch, tokens, channels)`` each."""
        layers = zip(self.weight.chunk(self.parts), self.bias.chunk(self.parts), strict=True)
        return [F.linear(input, weight, bias) for weight, bias in layers]


class PackedQKV(Packed):
    """Projection to q, k and v."""

    parts = 3


class PackedKV(Packed):
    """Projection to k and v, where the queries are learned vectors."""

    parts = 2


PackedT = TypeVar("PackedT", bound=Packed)


class HeadMixer(Prunable, nn.Module):
    """Scaled dot-product attention: ``(batch, tokens, 3 * channels) -> (batch, tokens, channels)``.

    Attributes:
        scale: factor on the scores. It stays that of the dense head when dims inside heads are
            pruned, since the kept dims then give nearly the same scores.
        relative_position_bias_table: BEiT's learned bias, ``(distances, heads)``, or None.
        q_norm, k_norm: norms of each head's queries and keys, with one scale for all heads.
        rotates: whether positions turn queries and keys (Su et al., RoFormer, 2021).
        rotate_half: whether a turn pairs dim d with dim ``d + head_dim / 2``, not with the next.
    """

    def __init__(
        self,
        heads: int,
        head_dim: int,
        scale: float,
        bias_table: nn.Parameter | None = None,
        bias_index: torch.Tensor | None = None,
        q_norm: nn.Module | None = None,
        k_norm: nn.Module | None = None,
        rotate_half: bool = False,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim
        self.scale = scale
        self.relative_position_bias_table = bias_table
        self.register_buffer("relative_position_index", bias_index, persistent=False)
        self.relative_position_index: torch.Tensor | None
        self.q_norm = q_norm or nn.Identity()
        self.k_norm = k_norm or nn.Identity()
        self.rotates = False
        self.rotate_half = rotate_half

    @property
    def dims_are_tied(self) -> bool:
        """Whether heads share something along their dims, so that none can lose its own."""
        return self.rotates or not isinstance(self.q_norm, nn.Identity)

    @property
    def dims(self) -> tuple[str, ...]:
        """Dimensions along which channels can be cut."""
        return ("heads",) if self.dims_are_tied else ("heads", "head_dim")

    def keep_heads(self, kept: torch.Tensor) -> None:
        """Keep of the parameters with an entry per head only those of heads ``kept``.

        No single channel owns these, so a graph does not see them.
        """
        self.heads = len(kept)
        table = self.relative_position_bias_table
        if table is not None:
            self.relative_position_bias_table = nn.Parameter(table.detach()[:, kept])

    def forward(self, packed: torch.Tensor, rope: torch.Tensor | None = None) -> torch.Tensor:
        """Mix tokens by attention, each head by its own weights.

        Args:
            packed: q, k and v.
            rope: sines and cosines of every token's position, ``(tokens, 2 * head_dim)``.
        """
        if self.tracing:
            return packed * 1.0
        q, k, v = packed.chunk(3, dim=-1)
        return self.attend(q, k, v, rope)

    def attend(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        rope: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Do the same with q, k and v apart, ``(batch, tokens, channels)`` each."""
        batch, tokens, _ = q.shape
        shape = (batch, tokens, self.heads, self.head_dim)
        q, k, v = (part.reshape(shape).transpose(1, 2) for part in (q, k, v))
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q = apply_rot_embed_cat(q, rope, half=self.rotate_half)
            k = apply_rot_embed_cat(k, rope, half=self.rotate_half)
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
        table = self.relative_position_bias_table
        return None if table is None else self._gather_bias(table)

    def _gather_bias(self, table: torch.Tensor) -> torch.Tensor:
        """Look up a table of biases, ``(distances, heads)``, for every pair of tokens."""
        bias = table[..., self.relative_position_index, :].movedim(-1, -3)
        return bias if bias.dim() == 4 else bias.unsqueeze(0)


class LatentMixer(HeadMixer):
    """Learned queries: ``(batch, tokens, 2 * channels) -> (batch, queries, channels)``.

    Attributes:
        query: ``(1, queries, channels)``; with a leading batch axis, every image its own.
    """

    def __init__(self, heads: int, head_dim: int, scale: float, query: nn.Parameter) -> None:
        super().__init__(heads, head_dim, scale)
        self.query = query

    def slices(self, outputs: bool) -> list[Slice]:
        """Return an entry of every query per channel."""
        return [(self.query, 2, 0)]

    def forward(self, packed: torch.Tensor, rope: torch.Tensor | None = None) -> torch.Tensor:
        """Let every query gather from all tokens."""
        if self.tracing:
            return packed * 1.0
        batch, tokens, _ = packed.shape
        shape = (batch, tokens, 2, self.heads, self.head_dim)
        k, v = packed.reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        count = self.query.shape[1]
        query = self.query.expand(batch, -1, -1).reshape(batch, count, self.heads, self.head_dim)
        mixed = F.scaled_dot_product_attention(query.transpose(1, 2), k, v, scale=self.scale)
        return mixed.transpose(1, 2).contiguous().view(batch, count, self.heads * self.head_dim)


class Attention(nn.Module):
    """Multi-head self-attention, ``(batch, tokens, dim) -> (batch, tokens, dim)``.

    Attributes:
        norm: a norm over the channels of all heads together, or an identity.
    """

    def __init__(
        self, qkv: PackedQKV, mix: HeadMixer, proj: nn.Linear, norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.qkv = qkv
        self.mix = mix
        self.norm = norm or nn.Identity()
        self.proj = proj

    def forward(
        self, x: torch.Tensor, rope: torch.Tensor | None = None, **context: object
    ) -> torch.Tensor:
        """Attend every token to all tokens; ``rope`` as in :meth:`HeadMixer.forward`.

        Raises:
            ValueError: if timm's block passes a mask or a shared bias; families refuse the
                models that need one.
        """
        if any(value is not None and value is not False for value in context.values()):
            raise ValueError("masked attention is not supported")
        mixed: torch.Tensor = self.proj(self.norm(project_and_mix(self.qkv, self.mix, x, rope)))
        return mixed


def project_and_mix(
    qkv: PackedQKV, mix: HeadMixer, x: torch.Tensor, context: torch.Tensor | None
) -> torch.Tensor:
    """Return ``mix(qkv(x), context)``, in an export with q, k and v never packed.

    A runtime would take the packed result apart with one copy and order it by heads with another.
    """
    if torch.compiler.is_compiling():
        q, k, v = qkv.apart(x)
        return mix.attend(q, k, v, context)
    mixed: torch.Tensor = mix(qkv(x), context)
    return mixed


def pack(weight: nn.Parameter, bias: nn.Parameter | None) -> PackedQKV:
    """Make a packed projection that shares ``weight`` and ``bias``.

    Without a bias it starts with one of zeros, which can take up that of a norm before it.
    """
    return _pack(PackedQKV, weight, bias)


def pack_kv(weight: nn.Parameter, bias: nn.Parameter | None) -> PackedKV:
    """Make a packed projection to k and v alone, otherwise as :func:`pack`."""
    return _pack(PackedKV, weight, bias)


def _pack(kind: type[PackedT], weight: nn.Parameter, bias: nn.Parameter | None) -> PackedT:
    layer = kind(weight.shape[1], weight.shape[0], device="meta")
    layer.weight = weight
    layer.bias = nn.Parameter(torch.zeros_like(weight[:, 0]).detach()) if bias is None else bias
    return layer


def packed_bias(old: Any) -> nn.Parameter | None:
    """Make one bias of timm's separate ones for q and v (BEiT, EVA); that of k is zero."""
    if old.q_bias is None:
        return None
    parts = (old.q_bias, torch.zeros_like(old.q_bias), old.v_bias)
    return nn.Parameter(torch.cat(parts).detach())
