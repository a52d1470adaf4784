"""DeiT, plain and distilled; the distilled one has a second token and a second classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from edgeprune.families.base import Stream, WidthKey, register, timm_module
from edgeprune.families.layers import resize_linear
from edgeprune.families.vit import ViT


class DeiT(ViT):
    """``deit_*`` and ``deit3_*`` of timm's deit.py."""

    name = "deit"
    tokens = (*ViT.tokens, "dist_token")

    def covers(self, timm_name: str) -> bool:
        """See :meth:`Family.covers`."""
        return timm_module(timm_name) == "deit"

    def streams(self, module: Any) -> list[Stream]:
        """See :meth:`Family.streams`."""
        streams = super().streams(module)
        if not isinstance(getattr(module, "head_dist", None), nn.Linear):
            return streams
        return [_read_by(stream, "head_dist") for stream in streams]

    def resize(self, module: Any, widths: Mapping[WidthKey, int]) -> None:
        """See :meth:`Family.resize`."""
        super().resize(module, widths)
        if isinstance(getattr(module, "head_dist", None), nn.Linear):
            resize_linear(module.head_dist, inputs=module.embed_dim)


def _read_by(stream: Stream, head: str) -> Stream:
    """Add a classifier to those that read the last norm."""
    name, readers = stream.norms[-1]
    return replace(stream, norms=(*stream.norms[:-1], (name, (*readers, head))))


register(DeiT())
