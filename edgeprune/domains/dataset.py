"""Images of several domains: the types, and reading ROOT/DOMAIN/CLASS/IMAGE folders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgeprune.errors import DataError
from edgeprune.schema import Document, read_document

RECORD_FILE = "edgeprune-data.json"
EMOJI = "emoji"
LAYOUT = "ROOT/DOMAIN/CLASS/IMAGE"
# How many missing things an error names.
NAMED = 5
SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)


@dataclass(frozen=True)
class Sample:
    """One image. Images of one group never stand on both sides of a group split."""

    path: Path
    label: int
    domain: str
    group: str


@dataclass(frozen=True)
class DomainDataset:
    """A data set; ``default_split`` is "file" or "group", names and samples are sorted.

    ``fingerprint`` is the SHA-256 of the list of files and their sizes.
    """

    name: str
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    fingerprint: str
    default_split: str

    def of(self, domain: str) -> tuple[Sample, ...]:
        """Return the samples of one domain."""
        return tuple(sample for sample in self.samples if sample.domain == domain)


class DataRecord(Document):
    """``edgeprune-data.json`` of a prepared folder: its name, and the group of each file stem.

    Without groups the folder is split file by file, as any other.
    """

    SCHEMA: ClassVar[str] = "edgeprune/data@1"

    name: str
    source: str
    groups: dict[str, str]


def open_dataset(data: str) -> DomainDataset:
    """Open the embedded data set ``emoji``, or a folder ROOT/DOMAIN/CLASS/IMAGE.

    Images are not read yet. A folder that is itself called emoji is ``./emoji``.

    Raises:
        DataError: if the folder is missing, empty, has fewer than two domains or classes, or
            its domains have different classes.
        UnavailableError: if the packages that carry ``emoji`` are not installed.
    """
    if data == EMOJI:
        from edgeprune.domains.emoji import open_emoji

        return open_emoji()
    return read_folder(Path(data))


def read_folder(root: Path) -> DomainDataset:
    """List the images of ROOT/DOMAIN/CLASS/IMAGE; hidden files and other suffixes are left out.

    The group of an image is its file stem, unless an ``edgeprune-data.json`` says more.

    Raises:
        DataError: as :func:`open_dataset`.
    """
    if not root.exists():
        raise DataError(f"data root {str(root)!r} does not exist", hint=f"expected: {LAYOUT}")
    if not root.is_dir():
        raise DataError(f"data root {str(root)!r} is a file; a folder {LAYOUT} was expected")
    record = _read_record(root)
    try:
        files = {
            domain.name: {kind.name: _images(kind) for kind in _folders(domain)}
            for domain in _folders(root)
        }
        classes = _check(root, files)
        found = [path for kinds in files.values() for paths in kinds.values() for path in paths]
        lines = [f"{path.relative_to(root).as_posix()} {path.stat().st_size}" for path in found]
    except PermissionError as error:
        raise DataError(
            f"data root {str(root)!r}: no permission to read {error.filename!r}"
        ) from None
    groups = record.groups if record else {}
    samples = [
        Sample(path, label, domain, groups.get(path.stem, path.stem))
        for domain in sorted(files)
        for label, name in enumerate(classes)
        for path in files[domain][name]
    ]
    return DomainDataset(
        name=record.name if record else root.resolve().name,
        domains=tuple(sorted(files)),
        classes=classes,
        samples=tuple(samples),
        fingerprint=fingerprint([*lines, *_group_lines(groups)]),
        default_split="group" if groups else "file",
    )


def fingerprint(lines: Iterable[str]) -> str:
    """Return the SHA-256 of sorted lines, as hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _read_record(root: Path) -> DataRecord | None:
    path = root / RECORD_FILE
    return read_document(path, DataRecord, DataError) if path.exists() else None


def _group_lines(groups: Mapping[str, str]) -> list[str]:
    return [f"group {stem} {group}" for stem, group in groups.items()]


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    """Images at any depth below a class folder, sorted by name without suffix."""
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda path: (path.with_suffix("").as_posix(), path.name))


def _check(root: Path, files: Mapping[str, Mapping[str, list[Path]]]) -> tuple[str, ...]:
    """Check that all domains have the same classes, and return those."""
    name = repr(str(root))
    if not any(paths for kinds in files.values() for paths in kinds.values()):
        raise DataError(f"data root {name} holds no images", hint=f"expected: {LAYOUT}")
    if len(files) < 2:
        raise DataError(
            f"data root {name} has only one domain, {next(iter(files))!r}; at least two are needed",
            hint=f"expected: {LAYOUT}",
        )
    classes = sorted({kind for kinds in files.values() for kind in kinds})
    lacking = [
        (domain, kind)
        for kind in classes
        for domain in sorted(files)
        if not files[domain].get(kind)
    ]
    if lacking:
        domain, kind = lacking[0]
        have = [name for name in sorted(files) if files[name].get(kind)]
        but = f", which {have[0]!r} has" if have else ""
        raise DataError(
            f"data root {name}: domain {domain!r} has no image of class {kind!r}{but}"
            f"{_also_missing(lacking[1:])}",
            hint=f"every domain needs the same classes; expected: {LAYOUT}",
        )
    if len(classes) < 2:
        raise DataError(f"data root {name} has only one class, {classes[0]!r}; two are needed")
    return tuple(classes)


def _also_missing(lacking: list[tuple[str, str]]) -> str:
    """Name some more classes that domains lack, and count the others."""
    if not lacking:
        return ""
    more = f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
    return f"; missing too: {', '.join('/'.join(pair) for pair in lacking[:NAMED])}{more}"
