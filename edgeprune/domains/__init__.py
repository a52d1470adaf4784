"""Data sets of several domains: opening, splitting, reading, inspecting and preparing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeprune.domains.dataset import DomainDataset, Sample, open_dataset
from edgeprune.domains.duplicates import warn_of_duplicates
from edgeprune.domains.emoji import emoji_is_installed
from edgeprune.domains.images import read_image
from edgeprune.domains.inspect import inspect
from edgeprune.domains.prepare import prepare
from edgeprune.domains.registry import list_datasets
from edgeprune.domains.split import Split, data_facts, divide, leave_one_out, single_source

if TYPE_CHECKING:
    from edgeprune.domains.store import ImageStore, load_images

__all__ = [
    "DomainDataset",
    "ImageStore",
    "Sample",
    "Split",
    "data_facts",
    "divide",
    "emoji_is_installed",
    "inspect",
    "leave_one_out",
    "list_datasets",
    "load_images",
    "open_dataset",
    "prepare",
    "read_image",
    "single_source",
    "warn_of_duplicates",
]


def __getattr__(name: str) -> Any:
    # On first use: listing and inspecting data must not load torch.
    if name in ("ImageStore", "load_images"):
        from edgeprune.domains import store

        return getattr(store, name)
    raise AttributeError(f"module 'edgeprune.domains' has no attribute {name!r}")
