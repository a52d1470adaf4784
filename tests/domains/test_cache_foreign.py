from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.domains import cache


def test_what_is_not_the_cache_s_is_never_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = [
        tmp_path / "thesis" / "chapter" / "model.pt",
        tmp_path / cache.FOLDER / "thesis" / "chapter" / "model.pt",
        tmp_path / cache.FOLDER / ("a" * 32) / ("b" * 32) / "model.pt",
    ]
    for path in foreign:
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(2_000_000))
    monkeypatch.setenv(cache.DIRECTORY, str(tmp_path))
    monkeypatch.setenv(cache.LIMIT, "0.001")
    store = cache.open_cache({"recipe": "test"})
    assert store is not None
    pixels = np.zeros((8, 8, 3), np.uint8)
    for index in range(3):
        store.add({cache.Key("domain", f"{index}.png", 1, index): pixels})
    assert all(path.exists() for path in foreign)
