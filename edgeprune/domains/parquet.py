"""Reading images out of parquet files as the ``datasets`` library writes them to the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from edgeprune.domains.archives import LARGEST_MEMBER_BYTES, damaged
from edgeprune.domains.known.base import HubFiles, KnownData
from edgeprune.domains.pictures import Picture, match_domain
from edgeprune.errors import DataError, UnavailableError

# The columns of a file whose data set has none recorded.
USUAL = HubFiles(repo="", revision="", pattern="")
ROWS = 64


def parquet_pictures(known: KnownData, path: Path) -> Iterator[Picture]:
    """Yield the images of one file, batch by batch.

    A text is taken as it is; a number of a ``ClassLabel`` column stands for the name that the
    file's own ``huggingface`` metadata gives it, else for the data set's known class.

    Raises:
        DataError: naming the file, if it is damaged, lacks a column, or an image in it is empty.
        UnavailableError: if pyarrow is not installed.
    """
    arrow, parquet = load_pyarrow()
    columns = known.hub or USUAL
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            _check_columns(path, schema.names, columns)
            features = _features(schema.metadata)
            domains = _names(features, columns.domain) or known.domains
            classes = _names(features, columns.label) or known.class_names
            seen: set[tuple[str, str, str]] = set()
            row = 0
            for batch in file.iter_batches(ROWS, columns=_used(columns)):
                for record in batch.to_pylist():
                    origin = f"{path}: row {row}"
                    image = record[columns.image] or {}
                    domain = match_domain(known, _name(record[columns.domain], domains, origin))
                    kind = _name(record[columns.label], classes, origin)
                    name = PurePosixPath(image.get("path") or "").name
                    if (domain, kind, name) in seen:
                        name = ""  # the path was cut to its last part, which other rows share
                    seen.add((domain, kind, name))
                    content = _content(image.get("bytes"), origin)
                    yield Picture(domain, kind, name, content, origin)
                    row += 1
    # UnicodeDecodeError: damage inside a text.
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise damaged(path, error) from error


def load_pyarrow() -> tuple[Any, Any]:
    """Return the modules ``pyarrow`` and ``pyarrow.parquet``. Raises UnavailableError."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UnavailableError(
            "parquet files need the package 'pyarrow', which is not installed",
            hint="pip install 'edgeprune[hub]'",
        ) from error
    return pyarrow, parquet


def _used(columns: HubFiles) -> list[str]:
    return [columns.image, columns.domain, columns.label]


def _check_columns(path: Path, found: list[str], columns: HubFiles) -> None:
    lacking = [name for name in _used(columns) if name not in found]
    if lacking:
        raise DataError(
            f"{str(path)!r} has no column {lacking[0]!r}; it has {', '.join(found)}",
            hint=f"expected: {', '.join(_used(columns))}",
        )


def _features(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    text = (metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(text)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _names(features: Mapping[str, Any], column: str) -> list[str] | None:
    feature = features.get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else None


def _name(value: object, names: list[str] | None, origin: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and names is not None and 0 <= value < len(names):
        return names[value]
    raise DataError(f"{origin}: {value!r} is no name of a domain or class")


def _content(value: object, origin: str) -> bytes:
    if not isinstance(value, bytes) or not value:
        raise DataError(f"{origin}: the image is empty")
    if len(value) > LARGEST_MEMBER_BYTES:
        raise DataError(f"{origin}: the image has more than {LARGEST_MEMBER_BYTES >> 20} MiB")
    return value
