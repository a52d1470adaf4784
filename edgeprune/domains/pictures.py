"""Reading the images of a known data set out of the files that carry it, one at a time.

Images are passed on as they are, undecoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgeprune.domains.archives import ARCHIVES, is_archive, members
from edgeprune.domains.dataset import LAYOUT, SUFFIXES
from edgeprune.domains.known.base import KnownData
from edgeprune.errors import DataError

PARQUET = ".parquet"
SIGNATURES = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG\r\n\x1a\n": ".png",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\x00": ".tif",
    b"MM\x00*": ".tif",
}


@dataclass(frozen=True)
class Picture:
    """One image file: where it belongs, its name, its bytes, and where it was found.

    ``name`` is empty where the source has none.
    """

    domain: str
    kind: str
    name: str
    content: bytes
    origin: str


Reader = Callable[[KnownData, Sequence[Path]], Iterator[Picture]]


def find_files(known: KnownData, source: Path) -> list[Path]:
    """Return the files of ``source``, a file or a folder, that may carry the data set.

    Parquet files come before archives, and archives before loose images: the first kind that
    is there is taken.

    Raises:
        DataError: if ``source`` is missing or holds none of them.
    """
    if source.is_file():
        if source.suffix == PARQUET or is_archive(source):
            return [source]
        accepted = ", ".join((PARQUET, *ARCHIVES))
        raise DataError(f"{str(source)!r} is neither parquet nor an archive: {accepted}")
    if not source.is_dir():
        raise DataError(f"{str(source)!r} does not exist")
    every = sorted(path for path in source.rglob("*") if path.is_file())
    found = (
        [path for path in every if path.suffix == PARQUET],
        [path for path in every if is_archive(path)],
        [path for path in every if place(known, PurePosixPath(path.as_posix())) is not None],
    )
    for files in found:
        if files:
            return files
    raise DataError(
        f"{str(source)!r} holds nothing of {known.title}: no parquet file, no archive, no"
        f" {LAYOUT} with the domains {', '.join(known.domains)}"
    )


def pictures(known: KnownData, files: Sequence[Path]) -> Iterator[Picture]:
    """Yield every image of DOMAIN/CLASS/IMAGE in parquet files, archives or loose files.

    Raises:
        DataError: naming the file, if it is damaged or holds no image of the data set.
        UnavailableError: if a parquet file needs a package that is not installed.
    """
    for path in files:
        if path.suffix == PARQUET:
            from edgeprune.domains.parquet import parquet_pictures

            yield from parquet_pictures(known, path)
        elif is_archive(path):
            yield from _archive_pictures(known, path)
        else:
            placed = place(known, PurePosixPath(path.as_posix()))
            if placed is not None:
                yield Picture(*placed, path.name, path.read_bytes(), str(path))


def _archive_pictures(known: KnownData, path: Path) -> Iterator[Picture]:
    empty = True
    for member in members(path, lambda name: place(known, name) is not None):
        placed = place(known, member.name)
        if placed is not None:
            empty = False
            yield Picture(*placed, member.name.name, member.content, f"{path}: {member.name}")
    if empty:
        raise DataError(
            f"archive {str(path)!r} holds no DOMAIN/CLASS/IMAGE of {known.title}",
            hint=f"its domains are {', '.join(known.domains)}",
        )


def place(known: KnownData, path: PurePosixPath) -> tuple[str, str] | None:
    """Return domain and class of .../DOMAIN/CLASS/IMAGE, or None where it is something else."""
    if len(path.parts) < 3 or path.suffix.lower() not in SUFFIXES:
        return None
    domain = match_domain(known, path.parts[-3])
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts[-3:])
    return None if hidden or domain not in known.domains else (domain, path.parts[-2])


def match_domain(known: KnownData, name: str) -> str:
    """Return the domain that ``name`` spells another way (Real_World), or ``name`` itself."""
    spelled = {_plain(domain): domain for domain in known.domains}
    return spelled.get(_plain(name), name)


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").replace("-", " ")


def suffix_of(content: bytes) -> str | None:
    """Return the suffix that an image's first bytes call for, or None if they are no image's."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    if content[:1] == b"P" and content[1:2] in b"123456" and content[2:3].isspace():
        return ".ppm"
    return next((s for start, s in SIGNATURES.items() if content.startswith(start)), None)
