"""How single PyTorch operators are written in ONNX, where the exporter's own way runs slower.

The results are the same. Runtimes recognise these forms and merge them, or have less to move.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from onnxscript import ir
from onnxscript.onnx_opset import opset18

# onnxscript types its operators for tensors; while a graph is written they take and return
# values of it, or constants.
op: Any = opset18
Value = Any

# From this version on there is an operator of its own.
GELU_OPSET = 20
ATTENTION_OPSET = 23


def table(opset: int) -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return the translations for a version of the operator set, by PyTorch operator."""
    aten = torch.ops.aten
    found: dict[Callable[..., Any], Callable[..., Any]] = {}
    if opset < GELU_OPSET:
        found[aten.gelu.default] = gelu
    if opset < ATTENTION_OPSET:
        found[aten.scaled_dot_product_attention.default] = attention
    return found


def gelu(self: Value, approximate: str = "none") -> Value:
    """Write GELU, ``x (1 + erf(x / sqrt 2)) / 2``, in the order of factors that is recognised.

    Halving last changes no bit: it only lowers the exponent. With ``approximate="tanh"``,
    ``tanh(sqrt(2 / pi) (x + 0.044715 x^3))`` stands for the error function.
    """
    if approximate == "tanh":
        cubed = op.Mul(_like(0.044715, self), op.Pow(self, _like(3.0, self)))
        bent = op.Tanh(op.Mul(_like(math.sqrt(2 / math.pi), self), op.Add(self, cubed)))
    else:
        bent = op.Erf(op.Div(self, _like(math.sqrt(2), self)))
    return op.Mul(op.Mul(self, op.Add(bent, _like(1.0, self))), _like(0.5, self))


def attention(
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    """Write ``softmax(scale q k^T + mask) v`` with one transposition, whatever the sizes.

    The exporter's own form works out the transposed shape of the keys at run time. Queries are
    scaled before the product, so that fp16 cannot overflow in it.

    Raises:
        ValueError: for what no supported model uses.
    """
    masked = attn_mask is not None and attn_mask.dtype != query.dtype
    if masked or dropout_p or is_causal or enable_gqa:
        raise ValueError("only attention with an additive mask, or none, is supported")
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    keys = op.Transpose(key, perm=[0, 1, 3, 2])
    scores = op.MatMul(op.Mul(query, _like(scale, query)), keys)
    if attn_mask is not None:
        scores = op.Add(scores, attn_mask)
    return op.MatMul(op.Softmax(scores, axis=-1), value)


def _like(value: float, other: Value) -> Value:
    return ir.tensor(value, dtype=other.dtype)
