from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeprune import artifact
from edgeprune.errors import UsageError
from edgeprune.model import DenseOptions, Model, create
from edgeprune.pruning import PruneSettings, prune


def _dense() -> Model:
    options = DenseOptions(num_classes=4, img_size=32, pretrained=False)
    return create("vit_tiny_patch16_224", options)


def test_half_the_width_of_vit_base_is_a_quarter_of_its_macs() -> None:
    """The paper's setting; torch-pruning's own table has 17.59 and 4.61 G."""
    options = DenseOptions(num_classes=1000, pretrained=False)
    result = prune(create("vit_base_patch16_224", options), PruneSettings(ratio=0.5)).result
    assert result.dense.macs / 1e9 == pytest.approx(17.58, rel=0.005)
    assert result.pruned.macs / 1e9 == pytest.approx(4.61, rel=0.005)
    assert result.pruned.params / result.dense.params == pytest.approx(0.253, abs=0.005)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"ratio": 0.0}, "ratio 0"),
        ({"ratio": 1.0}, "ratio 1"),
        ({"ratio": 1.5}, "ratio 1.5"),
        ({"ratio": -1.0}, "ratio -1"),
        ({"ratio": float("nan")}, "ratio nan"),
        ({"budget": "watts"}, "unknown budget 'watts'"),
        ({"scope": "everywhere"}, "unknown scope"),
        ({"dims": ("depth",)}, "unknown dimension"),
        ({"dims": ()}, "no dimension"),
        ({"round_to": 0}, "round-to 0"),
        ({"max_ratio": 0.0}, "max ratio 0"),
    ],
)
def test_bad_settings_are_named(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PruneSettings(**chosen)


def test_a_metric_that_needs_images_says_so() -> None:
    with pytest.raises(UsageError, match="'hessian' needs calibration images"):
        prune(_dense(), PruneSettings(metric="hessian"))


def test_a_pruned_artifact_can_be_pruned_again(tmp_path: Path) -> None:
    once = prune(_dense(), PruneSettings(ratio=0.5)).model
    saved = artifact.save(once, tmp_path / "once")
    twice = prune(artifact.load(tmp_path / "once"), PruneSettings(ratio=0.5)).model
    assert twice.record.parent == saved.record.weights_sha256
    assert [made.command for made in twice.record.made] == ["prune", "prune"]
    assert twice.record.dense == once.record.dense
    assert twice.record.pruned.macs < once.record.pruned.macs < once.record.dense.macs
