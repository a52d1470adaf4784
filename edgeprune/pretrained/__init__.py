"""Pre-trained weights that installed packages carry, as safetensors for ``--weights``."""

from __future__ import annotations

from edgeprune.pretrained.prepare import list_recipes, prepare_weights

__all__ = ["list_recipes", "prepare_weights"]
