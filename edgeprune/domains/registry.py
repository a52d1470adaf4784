"""The data sets that edgeprune knows by name: one file each in :mod:`edgeprune.domains.known`."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import ClassVar

from edgeprune.domains import known
from edgeprune.domains.dataset import DomainDataset
from edgeprune.domains.known.base import KnownData
from edgeprune.domains.pictures import Reader, pictures
from edgeprune.registries import module_names
from edgeprune.schema import Document


class DataList(Document):
    """What ``edgeprune data list`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/data-list@1"

    datasets: list[KnownData]


def _modules() -> list[ModuleType]:
    names = module_names(known.__path__)
    found = [importlib.import_module(f"{known.__name__}.{name}") for name in names]
    return sorted(found, key=lambda module: (module.DATASET.images, module.DATASET.name))


# Smallest first. Figures of the five DG benchmarks: DomainBed's copies.
MODULES = {module.DATASET.name: module for module in _modules()}
KNOWN: dict[str, KnownData] = {name: module.DATASET for name, module in MODULES.items()}


def list_datasets() -> DataList:
    """Return every data set that is known by name."""
    return DataList(datasets=list(KNOWN.values()))


def reader_of(name: str) -> Reader:
    """Return what reads the files of a known data set: its own function, or the common one."""
    reader: Reader = getattr(MODULES[name], "pictures", pictures)
    return reader


def recognise(dataset: DomainDataset) -> KnownData | None:
    """Return the known data set that a folder is a copy of: by its name, else by what is in it.

    A folder counts as a copy that has at least half of the domains and of the classes, and most
    of whose classes are known ones.
    """
    name = dataset.name.lower().replace("_", "-")
    if name in KNOWN:
        return KNOWN[name]
    for data in KNOWN.values():
        domains = set(data.domains) & set(dataset.domains)
        classes = set(data.class_names or dataset.classes) & set(dataset.classes)
        if (
            2 * len(domains) >= len(data.domains)
            and 2 * len(classes) >= data.classes
            and 2 * len(classes) > len(dataset.classes)
        ):
            return data
    return None
