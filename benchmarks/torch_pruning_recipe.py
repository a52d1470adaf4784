"""torch-pruning's own recipe for timm's ViT: the mark to beat.

What its example ``prune_timm_vit.py`` does with its defaults: every layer loses the same share of
its width, heads stay and become thinner, the residual stream shrinks with them, the classifier
keeps its classes. Scores are summed over each dependency group by torch-pruning itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
import torch_pruning as tp
from timm.layers.attention import Attention
from torch import nn

Batch = tuple[torch.Tensor, torch.Tensor]
IMPORTANCES = ("l1", "taylor", "hessian")


def plain_timm(name: str, state: dict[str, torch.Tensor], img_size: int, classes: int) -> Any:
    """Return timm's own model with the weights of a dense ViT of edgeprune's (same names)."""
    module = timm.create_model(name, num_classes=classes, img_size=img_size)
    module.load_state_dict(state)
    return module.eval()


def prune(module: Any, importance: str, ratio: float, batches: Sequence[Batch]) -> nn.Module:
    """Remove ``ratio`` of every width of a timm ViT, in place.

    Args:
        module: timm's dense model.
        importance: ``l1``, ``taylor`` or ``hessian``.
        ratio: share of the width of every dimension.
        batches: calibration images ``(batch, 3, size, size)`` and labels ``(batch,)``.
    """
    attentions = [part for part in module.modules() if isinstance(part, Attention)]
    chosen = _importance(importance)
    pruner = tp.pruner.BasePruner(
        module,
        batches[0][0][:1],
        importance=chosen,
        global_pruning=False,
        pruning_ratio=ratio,
        ignored_layers=[module.head],
        num_heads={attention.qkv: attention.num_heads for attention in attentions},
        prune_num_heads=False,
        prune_head_dims=True,
        round_to=1,
        # the defaults of these are mutable, and one pruner would leak into the next
        in_channel_groups={},
        out_channel_groups={},
        channel_groups={},
    )
    _accumulate(module, chosen, batches)
    for group in pruner.step(interactive=True):
        group.prune()
    for attention in attentions:
        attention.num_heads = pruner.num_heads[attention.qkv]
        attention.head_dim = attention.qkv.out_features // (3 * attention.num_heads)
        attention.attn_dim = attention.num_heads * attention.head_dim
    module.zero_grad()
    return module  # type: ignore[no-any-return]


def _importance(name: str) -> Any:
    if name == "taylor":
        return tp.importance.GroupTaylorImportance()
    if name == "hessian":
        return tp.importance.GroupHessianImportance()
    return tp.importance.GroupMagnitudeImportance(p=1)


def _accumulate(module: nn.Module, importance: Any, batches: Sequence[Batch]) -> None:
    """Run the loops that its documentation gives for scores that need gradients."""
    module.zero_grad()
    if isinstance(importance, tp.importance.GroupHessianImportance):
        importance.zero_grad()
        for images, labels in batches:
            accumulate_hessian(module, importance, images, labels)
    elif isinstance(importance, tp.importance.GroupTaylorImportance):
        for images, labels in batches:
            F.cross_entropy(module(images), labels).backward()  # type: ignore[no-untyped-call]


def accumulate_hessian(
    module: nn.Module, importance: Any, images: torch.Tensor, labels: torch.Tensor
) -> None:
    """Go back through the whole batch once per image, as documented."""
    for loss in F.cross_entropy(module(images), labels, reduction="none"):
        module.zero_grad()
        loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        importance.accumulate_grad(module)
