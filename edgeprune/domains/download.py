"""Fetching one file over http, so that an interrupted download goes on where it stopped."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from edgeprune.errors import DataError, UnavailableError
from edgeprune.files import CHUNK_BYTES, explain_os_errors
from edgeprune.progress import SILENT, Progress

TIMEOUT_S = 60
ATTEMPTS = 3


class _BrokenOff(Exception):  # noqa: N818
    """The connection ended before the file did."""


def download(url: str, path: Path, *, md5: str | None = None, progress: Progress = SILENT) -> Path:
    """Fetch ``url`` as ``path``; what is there already is kept, and half of it is continued.

    Until it is whole and its checksum right, the file is called ``PATH.part``.

    Raises:
        UnavailableError: if the server cannot be reached, refuses, or breaks off again and again.
        DataError: if the checksum is wrong; what was fetched is deleted.
        OutputError: if the disk is full or cannot be written.
    """
    if path.exists():
        check_md5(path, md5)
        return path
    part = path.with_name(f"{path.name}.part")
    for left in reversed(range(ATTEMPTS)):
        try:
            _fetch(url, part, progress)
            break
        except _BrokenOff as error:
            if left == 0:
                raise UnavailableError(
                    f"the download of {url} broke off {ATTEMPTS} times: {error}",
                    hint="run it again: it goes on where it stopped",
                ) from error
    check_md5(part, md5)
    part.replace(path)
    _validator(part).unlink(missing_ok=True)
    return path


def check_reachable(url: str) -> None:
    """Check that a server answers at all. Raises UnavailableError."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_S):
            pass
    except urllib.error.HTTPError:
        pass  # it answers
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UnavailableError(f"{url} cannot be reached: {reason}") from error


def check_md5(path: Path, md5: str | None) -> None:
    """Check a published checksum, where there is one; a partial file that is wrong is deleted.

    Raises:
        DataError: if it differs.
    """
    if md5 is None:
        return
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != md5:
        name = str(path).removesuffix(".part")
        if path.suffix == ".part":
            path.unlink()
            _validator(path).unlink(missing_ok=True)
        raise DataError(
            f"{name!r} has the MD5 {digest.hexdigest()}; {md5} was expected",
            hint="it is damaged or another version: get it again, or pass --unchecked",
        )


def _fetch(url: str, part: Path, progress: Progress) -> None:
    """Add what is missing of ``part``. Raises _BrokenOff if the connection ends early."""
    have = part.stat().st_size if part.exists() and _validator(part).exists() else 0
    request = urllib.request.Request(url)
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", _validator(part).read_text(encoding="utf-8"))
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            if response.status != http.HTTPStatus.PARTIAL_CONTENT:
                have = 0  # another file by now, or a server that cannot continue
            length = response.headers.get("Content-Length")
            total = have + int(length) if length is not None else None
            with explain_os_errors(part):
                part.parent.mkdir(parents=True, exist_ok=True)
                _remember(part, response.headers)
                with part.open("ab" if have else "wb") as out:
                    _copy(response, out, f"downloading {part.stem}", have, total, progress)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            _validator(part).unlink()
            return _fetch(url, part, progress)
        raise UnavailableError(f"cannot fetch {url}: {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise UnavailableError(f"cannot fetch {url}: {error.reason}") from error
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise _BrokenOff(str(error) or type(error).__name__) from error
    if total is not None and part.stat().st_size < total:
        raise _BrokenOff(f"{part.stat().st_size:,} of {total:,} bytes came")
    return None


def _copy(
    response: IO[bytes],
    out: IO[bytes],
    what: str,
    have: int,
    total: int | None,
    progress: Progress,
) -> None:
    count = -(-(total or 0) // CHUNK_BYTES)
    chunks = iter(lambda: response.read(CHUNK_BYTES), b"")
    for chunk in progress.track(chunks, f"{what}, MiB", count, have // CHUNK_BYTES):
        out.write(chunk)


def _validator(part: Path) -> Path:
    """The file that remembers which version of the remote file ``part`` is of."""
    return part.with_name(f"{part.name}.etag")


def _remember(part: Path, headers: http.client.HTTPMessage) -> None:
    version = headers.get("ETag") or headers.get("Last-Modified")
    if version and not version.startswith("W/"):
        _validator(part).write_text(version, encoding="utf-8")
    else:  # without one, two versions could not be told apart: it is fetched as a whole
        _validator(part).unlink(missing_ok=True)
