from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from prediction_files import CLASSES, predictions

from edgeprune.errors import ResultError
from edgeprune.predictions import digests, read_predictions, to_bytes, write_predictions


def test_what_was_written_is_read_and_the_bytes_repeat(tmp_path: Path) -> None:
    written = predictions()
    write_predictions(written, tmp_path / "p.safetensors")
    found = read_predictions(tmp_path / "p.safetensors")
    assert found.facts == written.facts
    for name, scored in written.domains.items():
        for part in ("logits", "labels", "images", "groups"):
            assert np.array_equal(getattr(found.domains[name], part), getattr(scored, part))
    assert to_bytes(found) == to_bytes(written) == to_bytes(predictions())


def test_digests_are_those_of_sha256() -> None:
    # The first 8 bytes of SHA-256 of "abc" (FIPS 180-2), little-endian, and signed.
    expected = int.from_bytes(bytes.fromhex("ba7816bf8f01cfea"), "little", signed=True)
    assert digests(["abc"]).tolist() == [expected]
    assert digests([]).shape == (0,)


Tensors = dict[str, Any]


def _changed(name: str, change: Callable[[Any], Any]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: np.ascontiguousarray(change(tensors[name]))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "groups.sea"}, "'groups.sea' is missing"),
        (lambda t: {**t, "logits.air": t["logits.sea"]}, "'logits.air' belongs to no scored"),
        (_changed("logits.sea", lambda v: v[:, :2]), r"float32 \(40, 2\); float32 \(40, 3\)"),
        (_changed("logits.sea", lambda v: v.astype(np.float64)), "is float64"),
        (_changed("logits.sea", lambda v: v[0, 0]), "'logits.sea' is float32"),
        (_changed("labels.sea", lambda v: v[1:]), r"int64 \(39,\); int64 \(40,\)"),
        (_changed("labels.sea", lambda v: v + CLASSES), "labels from 3 to 5; there are 3"),
        (_changed("labels.sea", lambda v: v - 1), "labels from -1"),
        (_changed("logits.sea", lambda v: v * np.nan), "not finite"),
        (
            lambda t: {**t, **{k: v[:0] for k, v in t.items() if k.endswith(".sea")}},
            "at least one image",
        ),
    ],
)
def test_files_that_do_not_fit_together_are_refused(
    tmp_path: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    raw = to_bytes(predictions())
    facts = json.dumps(predictions().facts.model_dump(mode="json", by_alias=True))
    tensors = change(safetensors.numpy.load(raw))
    path = tmp_path / "p.safetensors"
    path.write_bytes(safetensors.numpy.save(tensors, metadata={"edgeprune": facts}))
    with pytest.raises(ResultError, match=message):
        read_predictions(path)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    with pytest.raises(ResultError, match="does not exist"):
        read_predictions(path)
    path.write_bytes(to_bytes(predictions())[:-3])
    with pytest.raises(ResultError, match="not a readable safetensors file"):
        read_predictions(path)
    path.write_bytes(safetensors.numpy.save({"x": np.zeros(1)}))
    with pytest.raises(ResultError, match="holds no predictions"):
        read_predictions(path)
    path.write_bytes(safetensors.numpy.save({"x": np.zeros(1)}, metadata={"edgeprune": "[1"}))
    with pytest.raises(ResultError, match="metadata are damaged"):
        read_predictions(path)
    odd = predictions()
    odd = replace(odd, facts=odd.facts.model_copy(update={"targets": ["air"]}))
    path.write_bytes(to_bytes(odd))
    with pytest.raises(ResultError, match="targets"):
        read_predictions(path)
