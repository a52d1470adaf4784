"""Getting the files of a known data set: from the hub, from its authors, or brought by hand."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

from edgeprune.domains.download import check_md5, check_reachable, download
from edgeprune.domains.known.base import HubFiles, KnownData
from edgeprune.domains.parquet import load_pyarrow
from edgeprune.domains.pictures import find_files
from edgeprune.errors import DataError, EdgepruneError, UnavailableError
from edgeprune.files import explain_os_errors, sha256
from edgeprune.progress import SILENT, Progress

SHA256 = re.compile("[0-9a-f]{64}")


def check_fetchable(known: KnownData) -> None:
    """Check that the data set can be fetched without a person.

    Raises:
        UnavailableError: if it cannot; the hint says how to bring the files by hand.
    """
    if not known.fetched:
        raise UnavailableError(
            f"{known.title} cannot be fetched: its files stand behind a page for people",
            hint=by_hand(known),
        )


def fetch(known: KnownData, downloads: Path, *, progress: Progress = SILENT) -> list[Path]:
    """Fetch the files: hub files into the hub's own cache, archives into ``downloads``.

    Raises:
        UnavailableError: if there is no network, or a package is missing; the hint says how to
            bring the files by hand.
        DataError: if a checksum is wrong.
        OutputError: if the disk is full.
    """
    check_fetchable(known)
    try:
        if known.hub is not None:
            return _fetch_hub(known.hub)
        return [
            download(archive.url, downloads / archive.file, md5=archive.md5, progress=progress)
            for archive in known.archives
            if archive.url is not None
        ]
    except UnavailableError as error:
        raise UnavailableError(str(error), hint=error.hint or by_hand(known)) from error


def brought(known: KnownData, source: Path, *, unchecked: bool = False) -> list[Path]:
    """Return the files that a person brought; known archives must have their checksum.

    Raises:
        DataError: if nothing of the data set is there, or a checksum is wrong.
    """
    files = find_files(known, source)
    checksums = {archive.file: archive.md5 for archive in known.archives}
    for path in files:
        if not unchecked:
            check_md5(path, checksums.get(path.name))
    return files


def by_hand(known: KnownData) -> str:
    """Say where the files are, and what to do with them."""
    ways = []
    if known.hub is not None:
        ways.append(f"{known.hub.pattern} from {known.hub.page}")
    if known.archives:
        ways.append(", ".join(f"{archive.file} from {archive.page}" for archive in known.archives))
    return (
        f"by hand: put {'; or '.join(ways)} into one folder, then"
        f" edgeprune data prepare {known.name} --from FOLDER -o ROOT"
    )


def _fetch_hub(hub: HubFiles) -> list[Path]:
    load_pyarrow()  # before a gigabyte comes that could not be read
    try:
        from huggingface_hub import constants, snapshot_download
    except ImportError as error:
        raise UnavailableError(
            "the hub needs the package 'huggingface_hub', which is not installed",
            hint="pip install 'edgeprune[hub]'",
        ) from error
    if not constants.HF_HUB_OFFLINE:
        check_reachable(constants.ENDPOINT)  # the hub's client would try for half a minute
    try:
        with explain_os_errors(Path(constants.HF_HUB_CACHE)):
            folder = snapshot_download(
                hub.repo, repo_type="dataset", revision=hub.revision, allow_patterns=[hub.pattern]
            )
    except EdgepruneError:
        raise
    # Which classes its network errors have depends on the HTTP client of its version.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnavailableError(
            f"cannot fetch {hub.repo} from the Hugging Face hub: {reason}"
        ) from error
    files = sorted(
        path
        for path in Path(folder).rglob("*")
        if fnmatch(path.relative_to(folder).as_posix(), hub.pattern)
    )
    if not files:
        raise UnavailableError(f"{hub.repo} at {hub.revision} has no file {hub.pattern}")
    for path in files:
        _check_blob(path)
    return files


def _check_blob(path: Path) -> None:
    """Check a file of the hub's cache: what is stored there is named after its SHA-256.

    Raises:
        DataError: if it differs; the file is deleted, so that it is fetched anew.
    """
    blob = path.resolve()
    if SHA256.fullmatch(blob.name) and sha256(blob) != blob.name:
        blob.unlink()
        path.unlink(missing_ok=True)
        raise DataError(
            f"{path.name!r} came damaged from the hub: its SHA-256 is not {blob.name}",
            hint="run it again: it is fetched anew",
        )
