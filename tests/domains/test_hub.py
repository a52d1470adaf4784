"""Fetching from the hub: the real client against a server here that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from domains.known_files import SMALL, contents, files_of, rows, write_parquet

from edgeprune.domains import fetch as fetch_module
from edgeprune.domains import prepare
from edgeprune.domains.registry import KNOWN
from edgeprune.errors import DataError, UnavailableError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.sent: dict[str, bytes] = {}  # what is sent instead, as a damaged transfer does
        self.asked: list[str] = []
        self.url = ""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    running = Hub()
    tree = f"/api/datasets/someone/pacs/tree/{COMMIT}"
    info = "/api/datasets/someone/pacs/revision/main"
    file = f"/datasets/someone/pacs/resolve/{COMMIT}/"

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            running.asked.append(f"{self.command} {path}")
            if path == info:
                names = [{"rfilename": name} for name in running.files]
                self.answer(json.dumps({"id": "someone/pacs", "sha": COMMIT, "siblings": names}))
            elif path == tree:
                found = [
                    {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                    for name, data in running.files.items()
                ]
                self.answer(json.dumps(found))
            elif path.startswith(file) and path.removeprefix(file) in running.files:
                name = path.removeprefix(file)
                data = running.sent.get(name, running.files[name])
                self.answer(data, hashlib.sha256(running.files[name]).hexdigest())
            else:
                self.send_error(404)

        def answer(self, body: str | bytes, sha256: str | None = None) -> None:
            data = body.encode() if isinstance(body, str) else body
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Repo-Commit", COMMIT)
            if sha256:
                self.send_header("ETag", f'"{sha256}"')
                self.send_header("X-Linked-Etag", f'"{sha256}"')
                self.send_header("X-Linked-Size", str(len(data)))
            else:
                self.send_header("Content-Type", "application/json")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    running.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setitem(KNOWN, "pacs", SMALL)
    use(monkeypatch, running.url, tmp_path / "cache")
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def use(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    """Send the hub's client to ``url``; it reads HF_ENDPOINT and HF_HOME only when imported."""
    import huggingface_hub

    real = huggingface_hub.snapshot_download

    def there(repo: str, **options: object) -> str:
        return real(repo, endpoint=url, cache_dir=cache, token=False, **options)

    check = fetch_module.check_reachable
    monkeypatch.setattr(fetch_module, "check_reachable", lambda endpoint: check(url))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", there)


def fill(hub: Hub, tmp_path: Path) -> None:
    found = rows(contents())
    for index, part in enumerate((found[:3], found[3:])):
        name = f"data/train-{index:05d}-of-00002.parquet"
        hub.files[name] = write_parquet(tmp_path / "made.parquet", part).read_bytes()
    hub.files["README.md"] = b"hello"
    hub.files["data/test-00000-of-00001.parquet"] = b"not wanted"


def test_parquet_files_of_the_hub_become_folders(hub: Hub, tmp_path: Path) -> None:
    fill(hub, tmp_path)
    made = prepare("pacs", tmp_path / "out")
    assert files_of(tmp_path / "out") == contents()
    assert made.source == "https://huggingface.co/datasets/someone/pacs/tree/main/data"
    assert not any("README" in asked or "test-" in asked for asked in hub.asked if "GET" in asked)
    fetched = len([asked for asked in hub.asked if asked.startswith("GET /datasets")])
    prepare("pacs", tmp_path / "again")
    assert len([asked for asked in hub.asked if asked.startswith("GET /datasets")]) == fetched


def test_a_file_that_came_damaged_is_fetched_anew(hub: Hub, tmp_path: Path) -> None:
    fill(hub, tmp_path)
    name = "data/train-00001-of-00002.parquet"
    hub.sent[name] = hub.files[name][:-1] + b"?"
    with pytest.raises(DataError, match="came damaged from the hub") as caught:
        prepare("pacs", tmp_path / "out")
    assert caught.value.hint == "run it again: it is fetched anew"
    assert not (tmp_path / "out").exists()
    hub.sent.clear()
    prepare("pacs", tmp_path / "out")
    assert files_of(tmp_path / "out") == contents()


def test_a_repository_without_the_files_is_named(hub: Hub, tmp_path: Path) -> None:
    hub.files["README.md"] = b"hello"
    with pytest.raises(UnavailableError, match=r"someone/pacs at main has no file data/train"):
        prepare("pacs", tmp_path / "out")


def test_without_a_network_the_hint_names_files_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KNOWN, "pacs", SMALL)
    use(monkeypatch, "http://127.0.0.1:1", tmp_path / "cache")
    with pytest.raises(UnavailableError, match="cannot be reached") as caught:
        prepare("pacs", tmp_path / "out")
    assert caught.value.exit_code == 3
    assert caught.value.hint == (
        "by hand: put data/train-*.parquet from"
        " https://huggingface.co/datasets/someone/pacs/tree/main/data;"
        " or PACS.zip from https://example.org/PACS.zip into one folder, then"
        " edgeprune data prepare pacs --from FOLDER -o ROOT"
    )
    assert not (tmp_path / "out").exists()


def test_without_pyarrow_nothing_is_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking() -> None:
        raise UnavailableError("no pyarrow", hint="pip install 'edgeprune[hub]'")

    monkeypatch.setattr(fetch_module, "load_pyarrow", lacking)
    with pytest.raises(UnavailableError, match="no pyarrow") as caught:
        prepare("pacs", tmp_path / "out")
    assert caught.value.hint == "pip install 'edgeprune[hub]'"
    assert hub.asked == []


def test_without_the_hubs_client_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KNOWN, "pacs", SMALL)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnavailableError, match="'huggingface_hub', which is not inst") as caught:
        prepare("pacs", tmp_path / "out")
    assert caught.value.hint == "pip install 'edgeprune[hub]'"
