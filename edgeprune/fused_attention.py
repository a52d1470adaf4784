"""Head sizes that GPUs compute attention fast with."""

from __future__ import annotations

from collections.abc import Sequence

from edgeprune.schema import Width

# What TensorRT's fused attention takes; other sizes are computed step by step, which is slower.
FUSED_HEAD_DIMS = range(16, 257, 8)


def head_warnings(widths: Sequence[Width]) -> list[str]:
    """Warn of head sizes that TensorRT's fused attention does not take."""
    odd = sorted({w.width for w in widths if w.dim == "head_dim"} - set(FUSED_HEAD_DIMS))
    if not odd:
        return []
    return [
        f"head sizes {', '.join(map(str, odd))} are outside what TensorRT's fused attention takes"
        " (16 to 256, multiples of 8)"
    ]
