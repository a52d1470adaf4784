"""Every family in every precision, pruned: the file exists only if it was proved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from models import CASES, ONE_OF_EACH, images, made_small
from small_exports import toy_labelled

from edgeprune.exporting import ExportSettings, Int8Settings, Labelled, export
from edgeprune.model import DenseOptions, create
from edgeprune.pruning import PruneSettings, prune

CHOSEN = [case for case in CASES if case[0] in ONE_OF_EACH and "qk_norm" not in case[2]]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    return toy_labelled(tmp_path_factory.mktemp("data") / "toy")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "extra"), CHOSEN, ids=[case[0] for case in CHOSEN])
def test_fp16_and_int8_stay_near(
    name: str, size: int, extra: dict[str, Any], labelled: Labelled, tmp_path: Path
) -> None:
    with made_small(extra, 1):
        dense = create(name, DenseOptions(num_classes=3, img_size=size, pretrained=False))
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in dense.module.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        model = prune(dense, PruneSettings(ratio=0.75)).model
    # Its classes mean nothing: any loss of accuracy is let pass, the answers are looked at.
    settings = ExportSettings(
        precisions=("fp16", "int8"), int8=Int8Settings(max_drop=100, samples=16)
    )
    half, quarter = export(model, tmp_path / "out", settings, labelled=labelled).files
    with torch.no_grad():
        logits = model.module.eval()(images(size, 8))
    scale = float(logits.abs().mean())
    assert half.parity is not None
    assert half.parity.mean_abs <= 0.02 * scale
    assert quarter.parity is not None
    assert quarter.parity.mean_abs <= 0.5 * scale
    assert quarter.int8 is not None
