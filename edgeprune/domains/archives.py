"""Reading zip and tar files of unknown origin: nothing is unpacked by name, all is bounded."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from edgeprune.errors import DataError

TARS = (".tar", ".tar.gz", ".tgz")
ARCHIVES = (".zip", *TARS)
LARGEST_MEMBER_BYTES = 64 << 20
# Images do not compress: what unpacks to more than this is no archive of images.
LARGEST_EXPANSION = 20
ALLOWANCE_BYTES = 64 << 20

Wanted = Callable[[PurePosixPath], bool]


@dataclass(frozen=True)
class Member:
    """One file of an archive."""

    name: PurePosixPath
    content: bytes


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive of a kind that is read here."""
    return path.name.lower().endswith(ARCHIVES)


def members(
    path: Path, wanted: Wanted, *, largest_bytes: int = LARGEST_MEMBER_BYTES
) -> Iterator[Member]:
    """Yield the wanted files of an archive in its order.

    Raises:
        DataError: if the archive is damaged or cut short; if a name in it is absolute or leads
            out of it, or it holds a link or a device; if a wanted file has more than
            ``largest_bytes``, or all of them more than 20 times the archive's size.
    """
    read = _zip_members if path.name.lower().endswith(".zip") else _tar_members
    budget = path.stat().st_size * LARGEST_EXPANSION + ALLOWANCE_BYTES
    try:
        for name, stream in read(path, wanted):
            content = stream.read(min(largest_bytes, budget) + 1)
            if len(content) > largest_bytes:
                raise _refused(path, name, f"has more than {largest_bytes >> 20} MiB")
            budget -= len(content)
            if budget < 0:
                raise _refused(path, name, f"takes it past {LARGEST_EXPANSION} times its size")
            yield Member(name, content)
    # RuntimeError: zipfile's word for an encrypted file; NotImplementedError: a rare method.
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        EOFError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise damaged(path, error) from error
    except OSError as error:  # gzip: a wrong checksum or header, no error of the disk
        if error.errno is not None:
            raise
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> DataError:
    """Return the error that says that a file is not whole."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(
        f"{str(path)!r} is damaged or cut short ({reason})", hint="delete it and get it again"
    )


def _zip_members(path: Path, wanted: Wanted) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            name = _checked(path, entry.filename)
            # The upper half holds the Unix mode; 0xA000 there is a symbolic link.
            if entry.external_attr >> 16 & 0xF000 == 0xA000:
                raise _refused(path, name, "is a link")
            if not entry.is_dir() and wanted(name):
                with archive.open(entry) as stream:
                    yield name, stream


def _tar_members(path: Path, wanted: Wanted) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    with tarfile.open(path, "r|*") as archive:
        for entry in archive:
            name = _checked(path, entry.name)
            if not (entry.isfile() or entry.isdir()):
                raise _refused(path, name, "is a link or a device")
            stream = archive.extractfile(entry) if entry.isfile() and wanted(name) else None
            if stream is not None:
                yield name, stream


def _checked(path: Path, text: str) -> PurePosixPath:
    name = PurePosixPath(text.replace("\\", "/"))
    drive = name.parts[:1] and name.parts[0].endswith(":")
    if name.is_absolute() or drive or ".." in name.parts or "\0" in text:
        raise _refused(path, name, "leads out of the archive")
    return name


def _refused(path: Path, name: PurePosixPath, reason: str) -> DataError:
    return DataError(f"archive {str(path)!r} is refused: {str(name)!r} {reason}")
