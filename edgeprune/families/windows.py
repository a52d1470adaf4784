"""Attention inside windows, as in Swin (Liu et al., ICCV 2021) and SwinV2 (CVPR 2022).

The windows of an image lie side by side on the batch axis, image by image.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from edgeprune.families.attention import HeadMixer, PackedQKV, project_and_mix
from edgeprune.families.cutting import HeadMixerPruner, cuts
from edgeprune.families.layers import resize_parameter


class WindowMixer(HeadMixer):
    """Attention of every window to itself.

    ``(batch * windows, tokens, 3 * channels) -> (batch * windows, tokens, channels)``.

    Attributes:
        windows: windows of one image.
    """

    def __init__(
        self,
        heads: int,
        head_dim: int,
        scale: float,
        windows: int,
        bias_table: nn.Parameter | None,
        bias_index: torch.Tensor,
    ) -> None:
        super().__init__(heads, head_dim, scale, bias_table, bias_index)
        self.windows = windows

    def attend(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mix the tokens of every window.

        Args:
            q, k, v: ``(batch * windows, tokens, channels)`` each.
            mask: what is added to the scores of shifted windows, ``(windows, tokens, tokens)``.
        """
        tokens = q.shape[1]
        shape = (-1, self.windows, tokens, self.heads, self.head_dim)
        q, k, v = (part.reshape(shape).transpose(2, 3) for part in (q, k, v))
        q, k = self._comparable(q, k)
        bias = self._position_bias()
        assert bias is not None
        bias = bias.unsqueeze(1).expand(-1, self.windows, -1, -1, -1)
        if mask is not None:
            bias = bias + mask.unsqueeze(1)
        # windows and heads on one axis: kernels and the ONNX exporter take four axes, not five
        q, k, v, bias = (tensor.flatten(1, 2) for tensor in (q, k, v, bias))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale)
        mixed = mixed.view(-1, self.windows, self.heads, tokens, self.head_dim).transpose(2, 3)
        merged: torch.Tensor = mixed.reshape(-1, tokens, self.heads * self.head_dim)
        return merged

    def resize(self, heads: int, head_dim: int) -> None:
        """Take other widths, with empty parameters."""
        self.heads, self.head_dim = heads, head_dim
        resize_parameter(self, "relative_position_bias_table", 1, heads)

    def _comparable(self, q: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return queries and keys, ``(batch, windows, heads, tokens, head_dim)``, for products."""
        return q, k


class CosineMixer(WindowMixer):
    """Attention by cosines, with a position bias that a small MLP computes (SwinV2).

    Dims inside heads share the length that they are divided by: only whole heads can go.

    Attributes:
        logit_scale: logarithm of the factor on the cosines, ``(heads,)``.
        positions: computes the table of relative position biases.
    """

    # The factor on the cosines is at most 100.
    max_logit_scale = math.log(100.0)

    def __init__(
        self,
        heads: int,
        head_dim: int,
        windows: int,
        logit_scale: nn.Parameter,
        positions: PositionMLP,
        bias_index: torch.Tensor,
    ) -> None:
        super().__init__(heads, head_dim, 1.0, windows, None, bias_index)
        self.logit_scale = logit_scale
        self.positions = positions

    @property
    def dims_are_tied(self) -> bool:
        """See :attr:`HeadMixer.dims_are_tied`."""
        return True

    def keep_heads(self, kept: torch.Tensor) -> None:
        """See :meth:`HeadMixer.keep_heads`."""
        super().keep_heads(kept)
        self.logit_scale = nn.Parameter(self.logit_scale.detach()[kept])
        self.positions.weight2 = nn.Parameter(self.positions.weight2.detach()[kept])

    def resize(self, heads: int, head_dim: int) -> None:
        """See :meth:`WindowMixer.resize`."""
        super().resize(heads, head_dim)
        resize_parameter(self, "logit_scale", 0, heads)
        resize_parameter(self.positions, "weight2", 0, heads)

    def _comparable(self, q: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        factor = self.logit_scale.clamp(max=self.max_logit_scale).exp()
        return F.normalize(q, dim=-1) * factor[..., None, None], F.normalize(k, dim=-1)

    def _position_bias(self) -> torch.Tensor:
        return self._gather_bias(16 * torch.sigmoid(self.positions()))


class PositionMLP(nn.Module):
    """A bias per head for every distance between two tokens of a window, ``(distances, heads)``.

    Its two layers see no image. They are plain parameters, so that each image can have its own
    (a leading batch axis), which is how per-sample gradients are taken.

    Attributes:
        distances: log-spaced row and column distances, ``(distances, 2)``; derived, not stored.
    """

    def __init__(self, layers: Any, distances: torch.Tensor) -> None:
        super().__init__()
        self.weight1: nn.Parameter = layers[0].weight
        self.bias1: nn.Parameter = layers[0].bias
        self.weight2: nn.Parameter = layers[2].weight
        self.register_buffer("distances", distances, persistent=False)
        self.distances: torch.Tensor

    def forward(self) -> torch.Tensor:
        """Compute the table."""
        hidden = torch.relu(self.distances @ self.weight1.mT + self.bias1)
        return hidden @ self.weight2.mT


class WindowAttention(nn.Module):
    """Multi-head attention in windows, ``(batch * windows, tokens, dim) -> (the same)``."""

    def __init__(self, qkv: PackedQKV, mix: WindowMixer, proj: nn.Linear) -> None:
        super().__init__()
        self.qkv = qkv
        self.mix = mix
        self.proj = proj

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Attend inside windows; ``mask`` as in :meth:`WindowMixer.forward`."""
        mixed: torch.Tensor = self.proj(project_and_mix(self.qkv, self.mix, x, mask))
        return mixed


cuts(WindowMixer, CosineMixer)(HeadMixerPruner)
