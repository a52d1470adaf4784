"""Decoded images on disk, memory-mapped, so that every later command reads them at memory speed.

An entry is a folder with one flat file of pixels and an index. It holds images of one domain,
decoded in one way, is complete when it appears, and is never changed. A request takes what it
wants out of all entries of a domain and adds one with what none of them has: so splits, seeds,
targets and samples share what was decoded once.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edgeprune.domains.dataset import Sample
from edgeprune.errors import DataError, OutputError, UsageError
from edgeprune.files import explain_os_errors, output_directory
from edgeprune.progress import Progress
from edgeprune.schema import Document, Facts, read_document

DIRECTORY = "EDGEPRUNE_CACHE"
LIMIT = "EDGEPRUNE_CACHE_GB"
OFF = "off"
LIMIT_GB = 20.0
# What the cache leaves free on the disk, for what the command itself is to write.
RESERVE_BYTES = 1 << 30
# Images in memory before they go to disk as an entry.
BLOCK_BYTES = 256 << 20
FOLDER = "edgeprune-images"
PIXELS = "pixels.bin"
INDEX = "index.json"

_NAME = re.compile("[0-9a-f]{32}")

Pixels = npt.NDArray[np.uint8]
Decode = Callable[[Path], Pixels]


class Key(NamedTuple):
    """A version of an image file: another size or time of change is another image."""

    domain: str
    path: str
    size_bytes: int
    mtime_ns: int


class CachedImage(Facts):
    """A file as it was when it was decoded, and the shape of its pixels."""

    path: str
    size_bytes: int
    mtime_ns: int
    height: int = Field(ge=1)
    width: int = Field(ge=1)


class CacheIndex(Document):
    """``index.json`` of an entry; the RGB pixels of ``images`` follow one another in its file."""

    SCHEMA: ClassVar[str] = "edgeprune/image-cache@1"

    domain: str
    recipe: dict[str, str]
    images: list[CachedImage]


def decoded_images(
    samples: Sequence[Sample], decode: Decode, recipe: Mapping[str, str], progress: Progress
) -> list[Pixels]:
    """Return the pixels of every sample, ``(height, width, 3)`` each, from the cache if it can.

    Args:
        samples: the images.
        decode: reads one file.
        recipe: all that decides what ``decode`` returns, besides the file.
        progress: shows what is decoded, and says why if it cannot be kept on disk.

    Raises:
        DataError: what ``decode`` raises.
        UsageError: if ``EDGEPRUNE_CACHE_GB`` is no number above zero.
    """
    keys = [_key(sample) for sample in samples]
    cache = open_cache(recipe)
    ready = cache.find(keys) if cache else {}
    missing = {key: s.path for key, s in zip(keys, samples, strict=True) if key not in ready}
    wanted = sorted(missing.items(), key=lambda item: item[0].domain)
    block: dict[Key, Pixels] = {}

    def keep() -> None:
        nonlocal cache
        if cache is not None:
            try:
                ready.update(cache.add(block))
            except (OSError, OutputError) as error:
                cache = None
                progress.say(
                    f"note: decoded images are kept in memory only: {error};"
                    f" {DIRECTORY} moves the image cache or switches it {OFF!r}"
                )
        if cache is None:
            ready.update(block)
        block.clear()

    size, domain = 0, ""
    for key, path in progress.track(wanted, "reading images", len(wanted)):
        if block and (key.domain != domain or size >= BLOCK_BYTES):
            keep()
            size = 0
        block[key] = decode(path)
        size, domain = size + block[key].size, key.domain
    if block:
        keep()
    return [ready[key] for key in keys]


def open_cache(recipe: Mapping[str, str]) -> ImageCache | None:
    """Return the cache that the environment asks for; None if it is off. Raises UsageError."""
    place = os.environ.get(DIRECTORY) or ""
    if place.lower() == OFF:
        return None
    text = os.environ.get(LIMIT) or str(LIMIT_GB)
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf"):
        raise UsageError(f"{LIMIT}={text!r} is not accepted: a number of gigabytes above 0")
    # A folder of its own: whatever else lies where a person points is not the cache's to delete.
    root = (Path(place).expanduser() if place else user_cache()) / FOLDER
    return ImageCache(root, recipe, limit_bytes=int(limit * 1e9))


def user_cache() -> Path:
    """Return where this system keeps what programs can make again."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "edgeprune"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "edgeprune" / "Cache"
    xdg = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(xdg) if Path(xdg).is_absolute() else Path.home() / ".cache") / "edgeprune"


class ImageCache:
    """Entries below ``root`` that were decoded by one recipe; all recipes share the limit.

    Several processes may use it at once: what two of them decode at the same time is written
    twice, and the first to finish is kept.
    """

    def __init__(self, root: Path, recipe: Mapping[str, str], *, limit_bytes: int) -> None:
        self._root = root
        self._recipe = dict(recipe)
        self._limit_bytes = limit_bytes
        self._in_use: set[Path] = set()

    def find(self, keys: Iterable[Key]) -> dict[Key, Pixels]:
        """Return what is there of ``keys``, mapped read-only; damaged entries are deleted."""
        missing = set(keys)
        found: dict[Key, Pixels] = {}
        for domain in sorted({key.domain for key in missing}):
            for entry in _folders(self._shelf(domain)):
                # Hidden: another process is writing it, or was killed while it did.
                held = self._open(entry) if _NAME.fullmatch(entry.name) else {}
                useful = {key: pixels for key, pixels in held.items() if key in missing}
                if useful:
                    found |= useful
                    missing -= useful.keys()
                    self._use(entry)
        return found

    def add(self, images: Mapping[Key, Pixels]) -> dict[Key, Pixels]:
        """Write images of one domain as an entry and return them mapped.

        Raises:
            OutputError, OSError: if there is no room for them, or they cannot be written.
        """
        domain = next(iter(images)).domain
        size = sum(pixels.size for pixels in images.values())
        names = "\n".join(map(repr, images))
        entry = self._shelf(domain) / hashlib.sha256(names.encode()).hexdigest()[:32]
        self._make_room(size)
        try:
            with output_directory(entry) as scratch:
                self._write(scratch, domain, images)
        except (OSError, OutputError):
            if not entry.is_dir():
                raise
            # Another process made the same entry meanwhile.
        self._use(entry)
        return {**images, **self._open(entry)}

    def _write(self, folder: Path, domain: str, images: Mapping[Key, Pixels]) -> None:
        with (folder / PIXELS).open("wb") as out:
            for pixels in images.values():
                out.write(np.ascontiguousarray(pixels).data)
            out.flush()
            # Else a power cut could leave a complete entry of zeros.
            os.fsync(out.fileno())
        index = CacheIndex(
            domain=domain,
            recipe=self._recipe,
            images=[
                CachedImage(
                    path=key.path,
                    size_bytes=key.size_bytes,
                    mtime_ns=key.mtime_ns,
                    height=pixels.shape[0],
                    width=pixels.shape[1],
                )
                for key, pixels in images.items()
            ],
        )
        (folder / INDEX).write_text(index.to_json(), encoding="utf-8")

    def _open(self, entry: Path) -> dict[Key, Pixels]:
        """Map an entry; nothing, if it cannot be read. A damaged one is deleted."""
        try:
            index = read_document(entry / INDEX, CacheIndex, DataError)
            flat = np.asarray(np.memmap(entry / PIXELS, np.uint8, "r"))
            if index.recipe != self._recipe:
                raise DataError("made otherwise")
            return _split(index, flat)
        # ValueError: an empty file cannot be mapped.
        except (DataError, ValueError, FileNotFoundError):
            shutil.rmtree(entry, ignore_errors=True)
        except OSError:
            pass
        return {}

    def _use(self, entry: Path) -> None:
        """Mark an entry as used now: of all, the oldest are removed first."""
        self._in_use.add(entry)
        with suppress(OSError):  # a cache that others fill, and this process only reads
            os.utime(entry)

    def _make_room(self, size: int) -> None:
        """Delete the entries that were used least recently until ``size`` bytes more fit."""
        shelves = [shelf for shelf in _folders(self._root) if _NAME.fullmatch(shelf.name)]
        entries = [entry for shelf in shelves for entry in _folders(shelf) if _is_ours(entry)]
        sizes = {entry: _bytes(entry) for entry in entries}
        total = sum(sizes.values())
        for entry in sorted(sizes.keys() - self._in_use, key=_last_used):
            if total + size <= self._limit_bytes:
                break
            shutil.rmtree(entry, ignore_errors=True)
            total -= sizes[entry]
        if total + size > self._limit_bytes:
            raise OutputError(
                f"the image cache {str(self._root)!r} is full"
                f" ({self._limit_bytes / 1e9:g} GB, {LIMIT})"
            )
        with explain_os_errors(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self._root).free < size + RESERVE_BYTES:
                raise OutputError(f"the disk of {str(self._root)!r} is nearly full")

    def _shelf(self, domain: str) -> Path:
        """The folder of one domain and recipe; its name keeps it apart from the others."""
        text = repr((domain, sorted(self._recipe.items())))
        return self._root / hashlib.sha256(text.encode()).hexdigest()[:32]


def _key(sample: Sample) -> Key:
    path = os.path.realpath(sample.path)
    try:
        status = sample.path.stat()
    except OSError:
        return Key(sample.domain, path, -1, -1)  # decoding says what is wrong
    return Key(sample.domain, path, status.st_size, status.st_mtime_ns)


def _split(index: CacheIndex, flat: Pixels) -> dict[Key, Pixels]:
    """Cut the flat file into images. Raises DataError if it has another size."""
    ends = np.cumsum([3 * image.height * image.width for image in index.images])
    if not len(ends) or ends[-1] != flat.size:
        raise DataError("cut short")
    parts = np.split(flat, ends[:-1])
    return {
        Key(index.domain, image.path, image.size_bytes, image.mtime_ns): part.reshape(
            image.height, image.width, 3
        )
        for image, part in zip(index.images, parts, strict=True)
    }


def _is_ours(entry: Path) -> bool:
    """Tell whether a folder is an entry, or one that was being written."""
    name = entry.name.removeprefix(".").split(".")[0]
    try:
        files = {file.name for file in entry.iterdir()}
    except OSError:
        return False
    return bool(_NAME.fullmatch(name)) and files <= {PIXELS, INDEX}


def _folders(path: Path) -> list[Path]:
    """Folders in ``path``; none, if it cannot be read."""
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir())
    except OSError:
        return []


def _bytes(entry: Path) -> int:
    try:
        return sum(file.stat().st_size for file in entry.iterdir())
    except OSError:
        return 0


def _last_used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:
        return 0.0
