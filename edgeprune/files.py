"""Writing outputs so that nothing half-written is ever left behind.

Everything is written beside its destination under a temporary name and renamed at the end.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeprune.errors import DiskFullError, OutputError

CHUNK_BYTES = 1 << 20


def check_output_directory(path: Path, *, force: bool = False) -> None:
    """Check, before any long work, that ``path`` can become an output directory.

    Raises:
        OutputError: if it exists and is a file or not empty (unless ``force``), if this process
            works in it, or if its parent cannot be written.
    """
    here = Path.cwd()
    if path.resolve() in (here, *here.parents):
        raise OutputError(
            f"output {str(path)!r} is the working directory or holds it; name another"
        )
    if path.exists():
        if not path.is_dir():
            raise OutputError(f"output {str(path)!r} is a file; a directory was expected")
        if any(path.iterdir()) and not force:
            raise OutputError(
                f"output directory {str(path)!r} is not empty", hint="use --force to replace it"
            )
    check_parent_writable(path)


def check_output_file(path: Path) -> None:
    """Check, before any long work, that ``path`` can become an output file.

    Raises:
        OutputError: if it is a directory, a device or a pipe, or if its parent cannot be written.
    """
    if path.is_dir():
        raise OutputError(f"output {str(path)!r} is a directory; a file was expected")
    # Outputs are renamed into place, which would replace a device by a file.
    if path.exists() and not path.is_file():
        raise OutputError(f"output {str(path)!r} is a device or a pipe; a file was expected")
    check_parent_writable(path)


def check_apart(outputs: Iterable[Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Check, before any work, that no output replaces an input, or another output.

    Args:
        outputs: the files that a command was asked to write; None for what was not asked for.
        inputs: what it reads, also names that may be those of files; None for what was not given.

    Raises:
        OutputError: naming the first output that does.
    """
    read = [Path(name) for name in inputs if name is not None]
    written: list[Path] = []
    for output in outputs:
        if output is None:
            continue
        if any(same_file(output, other) for other in read):
            raise OutputError(
                f"output {str(output)!r} is an input of the same command; name another file"
            )
        if any(same_file(output, other) for other in written):
            raise OutputError(
                f"output {str(output)!r} is named for two outputs; name two different files"
            )
        written.append(output)


def same_file(first: Path, second: Path) -> bool:
    """Tell whether two paths lead to one file, which need not be there yet."""
    if first.exists() and second.exists():
        return first.samefile(second)
    return first.resolve() == second.resolve()


def check_parent_writable(path: Path) -> None:
    """Check that a file or directory named ``path`` could be created.

    Raises:
        OutputError: if the nearest existing parent is not a writable directory.
    """
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"output {str(path)!r}: {str(parent)!r} is not a directory")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"output {str(path)!r}: no permission to write in {str(parent)!r}")


@contextmanager
def output_directory(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a scratch directory that becomes ``path`` if the block ends without an exception.

    Raises:
        OutputError: as :func:`check_output_directory`, or if the disk is full.
    """
    check_output_directory(path, force=force)
    with explain_os_errors(path):
        make_parent(path)
        with _beside(path) as parent:
            scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=parent))
        try:
            scratch.chmod(0o777 & ~_umask())
            yield scratch
            _replace_directory(scratch, path, force=force)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """Yield a scratch file name that becomes ``path`` if the block ends without an exception.

    The scratch name keeps the suffix of ``path``, since writers look at it.

    Raises:
        OutputError: if ``path`` cannot be written or the disk is full.
    """
    check_output_file(path)
    with explain_os_errors(path):
        make_parent(path)
        with _beside(path) as parent:
            handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=parent)
        os.close(handle)
        scratch = Path(name)
        try:
            scratch.chmod(0o666 & ~_umask())
            yield scratch
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically. Raises OutputError."""
    with output_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about writing ``path`` into an OutputError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"no space left on the disk while writing {str(path)!r}") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(f"no permission to write {str(path)!r}") from error
        raise


def make_parent(path: Path) -> None:
    """Make the directory that ``path`` will lie in. Raises OutputError."""
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"output {str(path)!r}: its directory cannot be made ({error.strerror})"
        ) from error


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield where ``path`` will lie, and say so if nothing can be made there."""
    parent = path.absolute().parent
    try:
        with explain_os_errors(path):
            yield parent
    except OSError as error:
        raise OutputError(
            f"output {str(path)!r}: nothing can be made in {str(parent)!r} ({error.strerror})"
        ) from error


def _replace_directory(scratch: Path, path: Path, *, force: bool) -> None:
    if path.exists() and any(path.iterdir()) and force:
        # Renamed away first, so that a failure in between loses neither the old nor the new one.
        retired = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.absolute().parent))
        path.replace(retired / "old")
        scratch.replace(path)
        shutil.rmtree(retired, ignore_errors=True)
    else:
        scratch.replace(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
