"""Every architecture from end to end: prune, count, save, load, export, train a step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import CASES, CLASSES, IDS, images, made_small, single_logits
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edgeprune import artifact
from edgeprune.exporting import export
from edgeprune.model import DenseOptions, Model, create
from edgeprune.pruning import PruneSettings, prune


@pytest.fixture
def dense(name: str, size: int, extra: dict[str, Any]) -> Iterator[Model]:
    """A dense model of one block, or as ``extra`` says; artifacts are rebuilt as shallow."""
    with made_small(extra, 1):
        model = create(name, DenseOptions(num_classes=CLASSES, img_size=size, pretrained=False))
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in model.module.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.02)
        yield model


@pytest.mark.parametrize(("name", "size", "extra"), CASES, ids=IDS)
def test_from_pruning_to_training(dense: Model, size: int, tmp_path: Path) -> None:
    pruned = prune(dense, PruneSettings(ratio=0.5)).model
    share = pruned.record.pruned.macs / pruned.record.dense.macs
    assert 0.2 <= share <= 0.4
    assert pruned.record.pruned.macs == _flops(pruned) // 2
    _check_attributes(pruned.module)

    saved = artifact.save(pruned, tmp_path / "artifact")
    loaded = artifact.load(tmp_path / "artifact")
    with torch.no_grad():
        for count in (1, 3):
            x = images(size, count)
            assert torch.equal(loaded.module(x), pruned.module(x))

    (file,) = export(saved, tmp_path / "onnx").files
    assert file.parity is not None
    assert file.parity.max_abs <= 1e-4

    _check_that_a_step_helps(loaded.module, size)


def _flops(model: Model) -> int:
    """Count on the device itself; the plain kernel shows both products of attention."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.module(images(model.record.img_size, 1))
    return int(counter.get_total_flops())


def _check_attributes(module: Any) -> None:
    assert module.embed_dim == module.patch_embed.proj.weight.shape[0]
    head = module.get_classifier()
    head = head[0] if isinstance(head, tuple) else head
    assert module.num_features == module.head_hidden_size == head.weight.shape[1]


def _check_that_a_step_helps(module: torch.nn.Module, size: int) -> None:
    x, y = images(size, 8), torch.arange(8) % CLASSES
    optimiser = torch.optim.SGD(module.parameters(), lr=1e-3)
    module.train()
    before = F.cross_entropy(single_logits(module, x), y)
    before.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in module.parameters())
    optimiser.step()
    assert F.cross_entropy(single_logits(module, x), y) < before
