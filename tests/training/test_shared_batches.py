"""Several processes for one fine-tuning: what needs no launcher."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from toy_domains import SIZE, write_toy_domains

from edgeprune.domains import leave_one_out, load_images, open_dataset
from edgeprune.errors import UnavailableError, UsageError
from edgeprune.images import Preprocess
from edgeprune.training import FinetuneSettings
from edgeprune.training.batches import TrainingImages, pooled
from edgeprune.training.processes import SINGLE, open_processes, reports_errors

LAUNCHED = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize("count", [2, 4])
def test_shares_are_the_images_of_the_whole_batch(tmp_path: Path, count: int) -> None:
    dataset = open_dataset(str(write_toy_domains(tmp_path / "halves", per_class=3)))
    samples, sizes = pooled(leave_one_out(dataset, "night").train)
    wants = Preprocess(img_size=SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    store = load_images(samples, wants)
    whole_images, whole_labels = TrainingImages(store, sizes, 8, seed=1).batch(5)
    for rank in range(count):
        share = slice(rank, None, count)
        images, labels = TrainingImages(store, sizes, 8, 1, share).batch(5)
        assert torch.equal(images, whole_images[share])
        assert torch.equal(labels, whole_labels[share])


def test_one_process_needs_no_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert open_processes(FinetuneSettings(batch_size=7)) is SINGLE
    assert SINGLE.is_main
    assert SINGLE.seed_offset == 0


def test_accelerate_is_asked_for_where_it_is_missing(launched: pytest.MonkeyPatch) -> None:
    launched.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UnavailableError, match="several processes need Accelerate") as caught:
        open_processes(FinetuneSettings())
    assert caught.value.hint == "pip install 'edgeprune[distributed]'"


def test_batch_that_does_not_divide_is_refused(launched: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="batch_size 7 does not divide over 2 processes"):
        open_processes(FinetuneSettings(batch_size=7))


def test_two_precisions_are_refused(launched: pytest.MonkeyPatch) -> None:
    launched.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(UsageError, match="told mixed precision 'bf16', edgeprune 'fp32'"):
        open_processes(FinetuneSettings())


def test_half_a_launch_is_refused(launched: pytest.MonkeyPatch) -> None:
    launched.delenv("LOCAL_RANK")
    with pytest.raises(UsageError, match="WORLD_SIZE says 2 processes, but LOCAL_RANK is not set"):
        open_processes(FinetuneSettings())


def test_every_process_needs_a_gpu_of_its_own(launched: pytest.MonkeyPatch) -> None:
    launched.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UnavailableError, match="process 1 of this host has no GPU of its own"):
        open_processes(FinetuneSettings(device="cuda"))


def test_without_a_launcher_that_counts_the_main_process_speaks(
    launched: pytest.MonkeyPatch,
) -> None:
    assert not reports_errors()
    launched.setenv("RANK", "0")
    assert reports_errors()
