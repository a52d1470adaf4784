"""Which part of a network a module belongs to, by the module's path alone.

Knows no architecture: what repeats has a number in its path, as in ``blocks.3.attn.proj``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

EMBEDDING, HEAD, OTHER = "embedding", "head", "other"

# blocks.3 of timm, encoder_layer_3 of torchvision
_NUMBERED = re.compile(r"(.*_)?\d+")


def layer_names(paths: Sequence[str | None]) -> list[str | None]:
    """Return the layer of each operator, given the paths of their modules in the network's order.

    A layer is a part of a block that has modules of its own (``blocks.3.attn``); the block
    (``blocks.3``) for what is in it beside these: norms and the residual stream; ``embedding`` for
    all that comes before the first block, and ``head`` for all after the last. Without blocks it
    is the first module of the path.

    Args:
        paths: dotted; empty for the network itself, None where it is not known.

    Returns:
        None where nothing is known.
    """
    parts = {_part(path) for path in paths if path and _part(path) != path}
    inside = [index for index, path in enumerate(paths) if path and _block(path)]
    if not inside:
        return [path.partition(".")[0] if path else None for path in paths]
    return [
        _layer(path, parts) or _outside(path, index, inside[0], inside[-1])
        for index, path in enumerate(paths)
    ]


def by_kind(times: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Add up what the same layer of all blocks takes, as ``blocks.*.attn``; the order stays."""
    found: dict[str, float] = {}
    for layer, time in times:
        words = ["*" if _NUMBERED.fullmatch(word) else word for word in layer.split(".")]
        kind = ".".join(words)
        found[kind] = found.get(kind, 0.0) + time
    return found


def _layer(path: str | None, parts: set[str]) -> str | None:
    if not path:
        return None
    part = _part(path)
    return part if part in parts else _block(path) or None


def _outside(path: str | None, index: int, first: int, last: int) -> str | None:
    if path is None or first < index < last:
        return None
    return EMBEDDING if index < first else HEAD


def _block(path: str) -> str:
    """Return the path up to its last number, empty if it has none."""
    words = path.split(".")
    numbered = [index for index, word in enumerate(words) if _NUMBERED.fullmatch(word)]
    return ".".join(words[: numbered[-1] + 1]) if numbered else ""


def _part(path: str) -> str:
    """Return the path up to the module after its last number."""
    block = _block(path)
    if not block or block == path:
        return path
    return f"{block}.{path[len(block) + 1 :].partition('.')[0]}"
