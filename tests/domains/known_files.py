"""Small files in exactly the form in which PACS and others come, and a server for them."""

from __future__ import annotations

import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from edgeprune.domains.known.base import Archive, HubFiles, KnownData

DOMAINS = ["art_painting", "photo"]
CLASSES = ["dog", "horse"]

SMALL = KnownData(
    name="pacs",
    title="PACS",
    domains=DOMAINS,
    classes=2,
    class_names=CLASSES,
    images=8,
    images_per_domain={"art_painting": 4, "photo": 4},
    hub=HubFiles(repo="someone/pacs", revision="main", pattern="data/train-*.parquet"),
    archives=(Archive(file="PACS.zip", page="https://example.org/PACS.zip"),),
)


def image(number: int, suffix: str = ".jpg") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (5, 4), (number * 20 % 256, number % 256, 7)).save(
        stream, {".jpg": "jpeg", ".png": "png"}[suffix]
    )
    return stream.getvalue()


def contents() -> dict[str, bytes]:
    """Every image of the small data set by DOMAIN/CLASS/IMAGE."""
    names = [f"{d}/{c}/pic_{i:03d}.jpg" for d in DOMAINS for c in CLASSES for i in (1, 2)]
    return {name: image(number) for number, name in enumerate(names)}


def rows(found: dict[str, bytes], *, with_paths: bool = True) -> list[dict[str, object]]:
    return [
        {
            "image": {"bytes": data, "path": name.split("/")[2] if with_paths else None},
            "domain": name.split("/")[0],
            "label": CLASSES.index(name.split("/")[1]),
        }
        for name, data in found.items()
    ]


def write_parquet(path: Path, records: list[dict[str, object]]) -> Path:
    """Write a file as ``datasets.Dataset.push_to_hub`` writes it: three rows a row group."""
    features = {
        "image": {"_type": "Image"},
        "domain": {"dtype": "string", "_type": "Value"},
        "label": {"names": CLASSES, "_type": "ClassLabel"},
    }
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("image", picture), ("domain", pa.string()), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(records, schema), path, row_group_size=3)
    return path


def write_zip(path: Path, found: dict[str, bytes], top: str = "kfold/") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{top}README.txt", "hello")
        archive.writestr(f"__MACOSX/{top}photo/dog/._pic_001.jpg", b"junk")
        for name, data in found.items():
            archive.writestr(top + name, data)
    return path


def write_tar(path: Path, found: dict[str, bytes], top: str = "kfold/") -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in found.items():
            entry = tarfile.TarInfo(top + name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def files_of(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".json"
    }


class Site:
    """What the server has, how it misbehaves, and what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.etag = '"one"'
        self.break_after: list[int] = []  # bytes after which each next answer breaks off
        self.ranges: list[str | None] = []
        self.url = ""


@contextmanager
def serving() -> Iterator[Site]:
    """Serve files from 127.0.0.1, with ranges, as a data set's server does."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            site.ranges.append(asked)
            data = site.files.get(self.path.strip("/"))
            if data is None:
                self.send_error(404)
                return
            start = 0
            if asked and self.headers.get("If-Range") == site.etag:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(data):
                    self.send_error(416)
                    return
            self.send_response(206 if start else 200)
            self.send_header("ETag", site.etag)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            stop = site.break_after.pop(0) if site.break_after else len(data)
            self.wfile.write(data[start : start + stop])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
