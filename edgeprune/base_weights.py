"""Where the weights that a dense model starts from come from, and under which licence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from edgeprune.files import sha256
from edgeprune.schema import BaseWeights

RANDOM = BaseWeights(origin="random")


def of_hub(module: nn.Module) -> BaseWeights:
    """Say what timm says about the weights that it fetched."""
    config: dict[str, Any] = getattr(module, "pretrained_cfg", {})
    return BaseWeights(
        origin="hub", name=config.get("hf_hub_id") or None, licence=config.get("license") or None
    )


def of_file(path: Path) -> BaseWeights:
    """Say what a sound safetensors file says of itself; one of ``edgeprune weights`` says all."""
    with safe_open(path, framework="pt") as opened:
        metadata = opened.metadata() or {}
    told = _facts(metadata.get("edgeprune", ""))
    return BaseWeights(
        origin="file",
        name=told.get("name") or path.name,
        source=told.get("source"),
        licence=told.get("licence") or metadata.get("license"),
        sha256=sha256(path),
    )


def _facts(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str)}
