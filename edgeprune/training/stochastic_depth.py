"""Stochastic depth: residual branches that a training step leaves out for some images."""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers.drop import DropPath
from torch import nn


def set_drop_path(module: nn.Module, blocks: Sequence[Sequence[str]], rate: float) -> None:
    """Let block l of L leave out each of its branches for a share ``rate * l / L`` of the images.

    That is the linear rule of Huang et al. (ECCV 2016). Each image draws for itself, and what stays
    is scaled up to the same mean. In evaluation nothing is left out, and no parameter is added.

    Args:
        module: changed in place; what timm may have set up for it is replaced.
        blocks: paths of the modules that see the branches' results, by block, in their order;
            see :meth:`edgeprune.families.base.Family.branch_ends`.
        rate: share in the last block; 0 leaves nothing out.
    """
    for number, paths in enumerate(blocks, start=1):
        share = rate * number / len(blocks)
        for path in paths:
            end = DropPath(share) if share else nn.Identity()
            module.set_submodule(path, end.train(module.training))
