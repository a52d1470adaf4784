from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from edgeprune.errors import OutputError, ResultError
from edgeprune.sweeping.results import TrialKey
from edgeprune.sweeping.store import STORE_FILE, Store, read_store

KEY = TrialKey(
    kind="dense", model="ViT", timm_name="vit_tiny_patch16_224", data="toy", target="day", seed=0
)


def test_what_is_not_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="does not exist"):
        read_store(tmp_path / STORE_FILE)
    (tmp_path / STORE_FILE).write_bytes(b"something else" * 100)
    with pytest.raises(ResultError, match="file is not a database"):
        read_store(tmp_path / STORE_FILE)


def test_another_version_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / STORE_FILE).close()
    with sqlite3.connect(tmp_path / STORE_FILE) as connection:
        connection.execute("PRAGMA user_version=9")
    with pytest.raises(ResultError, match="has version 9; this edgeprune reads 1"):
        read_store(tmp_path / STORE_FILE)
    with pytest.raises(OutputError, match="has version 9; this edgeprune writes 1") as refused:
        Store(tmp_path / STORE_FILE)
    assert "makes it anew" in str(refused.value.hint)


def test_it_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path / STORE_FILE)
    store.plan([("a", KEY), ("b", KEY)], "toy")
    store.mark("a", "running")
    found = read_store(tmp_path / STORE_FILE)
    assert found.name == "toy"
    assert [(row.id, row.state) for row in found.rows] == [("a", "running"), ("b", "waiting")]
    store.mark("a", "failed", "an error")
    assert read_store(tmp_path / STORE_FILE).rows[0].error == "an error"
    store.close()


def test_a_new_plan_forgets_what_is_no_longer_wanted(tmp_path: Path) -> None:
    store = Store(tmp_path / STORE_FILE)
    store.plan([("a", KEY), ("b", KEY)], "toy")
    store.plan([("c", KEY), ("b", KEY)], "toy")
    assert [row.id for row in read_store(tmp_path / STORE_FILE).rows] == ["c", "b"]
    store.close()


def test_damage_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path / STORE_FILE)
    store.plan([("a", KEY)], "toy")
    store.close()
    with sqlite3.connect(tmp_path / STORE_FILE) as connection:
        connection.execute("UPDATE trials SET result = '{}'")
    with pytest.raises(ResultError, match="is damaged"):
        read_store(tmp_path / STORE_FILE)


def test_what_a_sweep_is_about_to_fill_holds_nothing_yet(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / STORE_FILE) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    assert read_store(tmp_path / STORE_FILE).rows == []
    Store(tmp_path / STORE_FILE).close()
    assert read_store(tmp_path / STORE_FILE).rows == []
