"""Pre-trained weights that installed packages carry, as safetensors for ``--weights``."""

from __future__ import annotations

from edgeprune.pretrained.prepare import list_recipes, prepare_weights
from edgeprune.pretrained.registry import RECIPES

__all__ = ["list_recipes", "prepare_weights", "weights_names"]


def weights_names() -> tuple[str, ...]:
    """Return the names of all weights that can be made ready."""
    return tuple(RECIPES)
