"""MLPs of transformer blocks: two layers, or three with a gate (SwiGLU).

A hidden channel of a gated MLP is a row of the gate, a row of the value, an entry of the norm
between them and the output, and a column of the last layer. timm packs gate and value into one
layer or keeps them apart; here they are always apart, which a dependency graph can follow.
"""

from __future__ import annotations

from typing import Any

from timm.layers.mlp import GluMlp, Mlp, SwiGLU
from torch import nn

from edgeprune.errors import ModelError
from edgeprune.families.layers import require_norm, resize_linear, resize_norm


def prunable(mlp: Any) -> nn.Module:
    """Return the MLP in a form whose hidden channels can be cut.

    Raises:
        ModelError: if it is of another kind.
    """
    kind = type(mlp).__name__
    if not isinstance(mlp, (Mlp, GluMlp, SwiGLU)) or not isinstance(mlp.fc2, nn.Linear):
        raise ModelError(f"an MLP of kind {kind} is not supported yet")
    if isinstance(mlp, GluMlp) and mlp.gate_last:
        raise ModelError(f"an MLP of kind {kind} whose gate comes last is not supported yet")
    require_norm(mlp.norm)
    return _unpacked(mlp) if isinstance(mlp, GluMlp) else mlp


def readers(mlp: Any) -> tuple[str, ...]:
    """Return the names of the layers that read the MLP's input, the group's root first."""
    return ("fc1_g", "fc1_x") if isinstance(mlp, SwiGLU) else ("fc1",)


def hidden_width(mlp: Any) -> int:
    """Return the number of hidden channels."""
    return int(mlp.fc2.in_features)


def resize(mlp: Any, embed: int, hidden: int) -> None:
    """Give an MLP other widths."""
    for name in readers(mlp):
        resize_linear(getattr(mlp, name), inputs=embed, outputs=hidden)
    resize_norm(mlp.norm, hidden)
    resize_linear(mlp.fc2, inputs=hidden, outputs=embed)


def _unpacked(mlp: Any) -> SwiGLU:
    """Take the gate and the value of a packed MLP apart."""
    hidden = mlp.fc2.in_features
    apart = SwiGLU(mlp.fc1.in_features, hidden, bias=mlp.fc1.bias is not None, device="meta")
    for layer, part in ((apart.fc1_g, 0), (apart.fc1_x, 1)):
        rows = slice(part * hidden, (part + 1) * hidden)
        layer.weight = nn.Parameter(mlp.fc1.weight.detach()[rows].clone())
        if mlp.fc1.bias is not None:
            layer.bias = nn.Parameter(mlp.fc1.bias.detach()[rows].clone())
    for name in ("act", "drop1", "norm", "fc2", "drop2"):
        setattr(apart, name, getattr(mlp, name))
    return apart
