"""Every model of timm that a family covers: the same logits in prunable form, or a reason.

Models are made narrow and shallow; what they are built of is theirs.
"""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from models import CLASSES, SMALL, images, timm_model

from edgeprune import families
from edgeprune.errors import ModelError

# Part of a name, and what such models have that is not supported.
REFUSED = {
    "aimv2_": "'norm'",
    "eva02_enormous_": "EvaBlockPostNorm",
    "test_vit4": "RmsNorm",
    "_sapiens2": "share keys",
    "_rope_mixed_": "RotaryEmbeddingMixed",
    "_18x2_": "ParallelThingsBlock",
    "_rpn_": "ResPostBlock",
    "_xp_": "ParallelScalingBlock",
    "vit_pwee_": "ParallelScalingBlock",
    "vit_dpwee_": "DiffParallelScalingBlock",
    "vit_dwee_": "DiffAttention",
    "vit_dlittle_": "DiffAttention",
}
FOUR_STAGES = {"depths": (2, 1, 1, 1), "embed_dim": 32, "num_heads": (1, 2, 4, 8)}


def _covered() -> list[str]:
    found = []
    for name in timm.list_models():
        try:
            families.of(name)
        except ModelError:
            continue
        found.append(name)
    return found


def _small(name: str) -> tuple[Any, int]:
    """A small model of that name, and the size of its images."""
    if families.of(name).name in ("swin", "swinv2"):
        return timm_model(name, 64, **FOUR_STAGES), 64
    extra: dict[str, Any] = {**SMALL, "depth": 1}
    if "_sapiens2" in name:  # these say for each block how many heads share keys
        extra["num_kv_heads"] = 2
    with torch.device("meta"):
        size = 2 * timm.create_model(name, num_classes=CLASSES, **extra).patch_embed.patch_size[0]
    return timm_model(name, size, **extra), size


@pytest.mark.parametrize("name", _covered())
def test_logits_are_the_same_or_there_is_a_reason(name: str) -> None:
    model, size = _small(name)
    x = images(size, 2)
    for part, reason in REFUSED.items():
        if part in name:
            with pytest.raises(ModelError, match=reason):
                families.of(name).adapt(model)
            return
    with torch.no_grad():
        expected = model(x)
        found = families.of(name).adapt(model)(x)
    assert expected.std() > 0.01
    assert (found - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))
