from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from models import images
from onnxscript import ir
from small_exports import fit_classifier, small_model, toy_labelled, with_outlier
from toy_domains import SIZE

from edgeprune.errors import CheckError
from edgeprune.exporting import Int8Settings, Labelled
from edgeprune.exporting.accuracy import answers
from edgeprune.exporting.calibration import BINS, Range, _entropy, _percentile, activation_ranges
from edgeprune.exporting.int8 import FLAVOURS, quantise_static
from edgeprune.exporting.layers import products
from edgeprune.exporting.onnx import trace, write
from edgeprune.exporting.quantisation import fewest, quantise
from edgeprune.exporting.sensitivity import harm
from edgeprune.model import Model
from edgeprune.onnx_runner import OnnxRunner

X = images(SIZE, 16)
CPU = FLAVOURS["cpu"]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    return toy_labelled(tmp_path_factory.mktemp("data") / "halves", per_class=20)


@pytest.fixture(scope="module")
def hostile(labelled: Labelled) -> tuple[Model, ir.Model]:
    """A model of which one layer cannot be int8."""
    model = small_model()
    fit_classifier(model, labelled)
    with_outlier(model, 1)
    return model, trace(model)


def _divergence(model: Model, found: ir.Model, folder: Path) -> float:
    """Mean Kullback-Leibler divergence of a file's answers from those of PyTorch."""
    write(found, folder / "m.onnx", {})
    logits = torch.from_numpy(OnnxRunner(folder / "m.onnx").logits(X.numpy()))
    with torch.no_grad():
        expected = model.module(X).log_softmax(-1)
    own = logits.log_softmax(-1)
    return float((expected.exp() * (expected - own)).sum(1).mean())


def test_harm_is_the_divergence_that_one_layer_causes(tmp_path: Path) -> None:
    model = small_model()
    with torch.no_grad():  # answers that say something
        model.module.get_submodule("head").weight.mul_(20)
    base = trace(model)
    ranges = activation_ranges(base, lambda: [X], "minmax")
    coarse = FLAVOURS["cpu-avx2"]
    estimated = harm(model, base, ranges, coarse, [X] * 30)
    layers = {product.layer for product in products(base)}
    for layer in ("blocks.0.attn.qkv", "blocks.0.mlp.fc1", "blocks.1.mlp.fc2"):
        alone = base.clone()
        quantise_static(alone, ranges, coarse, layers - {layer})
        measured = _divergence(model, alone, tmp_path)
        assert estimated[layer] == pytest.approx(measured, rel=0.3), layer


def test_layers_that_harm_are_kept_until_the_drop_is_small(
    hostile: tuple[Model, ir.Model], labelled: Labelled, tmp_path: Path
) -> None:
    model, base = hostile
    expected = answers(model, labelled)
    settings = Int8Settings(samples=24)
    found, kept, facts = quantise(model, base, expected, settings)
    assert [layer.name for layer in kept] == ["blocks.1.mlp.fc1"]
    assert kept[0].reason == "accuracy"
    assert facts.data is not None
    assert (facts.data.target, facts.data.samples) == ("night", 24)
    assert {product.layer for product in products(found)} == {"blocks.1.mlp.fc1"}


def test_all_layers_may_go_where_any_drop_is_accepted(
    hostile: tuple[Model, ir.Model], labelled: Labelled
) -> None:
    model, base = hostile
    settings = Int8Settings(samples=24, max_drop=100)
    _, kept, _ = quantise(model, base, answers(model, labelled), settings)
    assert kept == []


def test_a_limit_that_nothing_meets_is_told(
    hostile: tuple[Model, ir.Model], labelled: Labelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, base = hostile
    monkeypatch.setattr("edgeprune.exporting.quantisation.fewest", lambda holds, most: None)
    with pytest.raises(CheckError, match=r"no layer can be int8 without losing more than 0\.5"):
        quantise(model, base, answers(model, labelled), Int8Settings(samples=24))


def test_fewest_asks_little_and_finds_the_least() -> None:
    for most in (1, 2, 5, 16, 70):
        for least in range(1, most + 3):
            asked: list[int] = []

            def holds(number: int, least: int = least, asked: list[int] = asked) -> bool:
                asked.append(number)
                return number >= least

            assert fewest(holds, most) == (least if least <= most else None)
            assert max(asked) <= most
            assert len(asked) == len(set(asked))
            assert len(asked) <= 2 * np.log2(most) + 2


def test_percentile_and_entropy_clip_what_lies_far_out() -> None:
    generator = np.random.default_rng(0)
    numbers = np.append(generator.standard_normal(1_000_000), [-80.0, 80.0])
    extremes = Range(-80.0, 80.0)
    counts = np.histogram(numbers, BINS, range=(-80, 80))[0].astype(float)
    for choose in (_percentile, _entropy):
        found = choose(counts, extremes)
        assert 3 <= found.high <= 8
        assert -8 <= found.low <= -3
    uniform = np.histogram(generator.uniform(0, 1, 10**6), BINS, range=(0, 1))[0].astype(float)
    for choose in (_percentile, _entropy):
        assert choose(uniform, Range(0, 1)).high == pytest.approx(1, abs=0.02)
