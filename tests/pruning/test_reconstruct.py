from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from models import CASES, CLASSES, images, timm_model

from edgeprune import families
from edgeprune.cli import main
from edgeprune.pruning.graph import PruningGraph
from edgeprune.pruning.reconstruct import Moments, StreamProjection, assign, fold, refit

STARTS_WITH_NORM = ["vit_base_patch16_clip_224.openai", "vit_pe_core_tiny_patch16_384"]
PLAIN = [case for case in CASES if case[0] not in STARTS_WITH_NORM and "depths" not in case[2]]


@dataclass
class Batches:
    """Stands in for calibration images."""

    x: torch.Tensor

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        yield self.x, torch.arange(len(self.x)) % CLASSES


@pytest.mark.parametrize(("name", "size", "extra"), PLAIN, ids=[case[0] for case in PLAIN])
def test_folding_changes_nothing(name: str, size: int, extra: dict[str, Any]) -> None:
    family = families.of(name)
    model = family.adapt(timm_model(name, size, **extra))
    x = images(size)
    with torch.no_grad():
        before = model(x)
        fold(model, family.streams(model)[0])
        assert (model(x) - before).abs().max() <= 1e-4 * before.abs().max()


@pytest.mark.parametrize(("name", "size", "extra"), PLAIN, ids=[case[0] for case in PLAIN])
def test_projecting_to_the_same_width_changes_nothing(
    name: str, size: int, extra: dict[str, Any]
) -> None:
    """A centred stream of width C has C - 1 directions: nothing is lost."""
    family = families.of(name)
    model = family.adapt(timm_model(name, size, **extra))
    x = images(size)
    with torch.no_grad():
        before = model(x)
    graph = PruningGraph(model, family, size)
    embed = graph.groups[0]
    (stream,) = family.streams(model)
    assert stream.group == embed.name
    projection = StreamProjection(model, stream, embed.channels, Batches(x))  # type: ignore[arg-type]
    assign(model, projection.weights(graph.members(embed)))
    with torch.no_grad():
        assert (model(x) - before).abs().max() <= 1e-3 * before.abs().max()


@pytest.mark.parametrize("name", [*STARTS_WITH_NORM, "vit_base_patch16_radio_v3"])
def test_a_stream_whose_ends_have_the_wrong_norms_cannot_be_projected(name: str) -> None:
    """One at the start has no reader to absorb it; without one the classifier sees the mean."""
    size, extra = 32, {"embed_dim": 64, "num_heads": 2}
    family = families.of(name)
    assert family.streams(family.adapt(timm_model(name, size, **extra))) == []


def test_refit_recovers_what_the_kept_inputs_determine() -> None:
    generator = torch.Generator().manual_seed(0)
    kept = torch.randn(500, 3, generator=generator)
    # two more inputs that follow from the others, up to a constant
    inputs = torch.cat([kept, kept @ torch.randn(3, 2, generator=generator) + 5], dim=1)
    layer = torch.nn.Linear(5, 4)
    with torch.no_grad():
        expected = layer(inputs)
        plain = kept @ layer.weight[:, :3].T + layer.bias
        moments = Moments(torch.zeros(5, 5), torch.zeros(5))
        moments.add(inputs)
        refit(layer, moments, [0, 1, 2])
        fitted = kept @ layer.weight[:, :3].T + layer.bias
    assert (fitted - expected).norm() < 0.02 * (plain - expected).norm()


def test_reconstruction_needs_images(tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    command = ["prune", "vit_tiny_patch16_224", "--no-pretrained", "--reconstruct"]
    assert main([*command, "-o", str(tmp_path / "out")]) == 2
    assert "--reconstruct needs calibration images" in capsys.readouterr().err
