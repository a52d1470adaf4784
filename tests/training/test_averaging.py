from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recorded_progress import Recorded
from torch import nn
from toy_domains import MODEL, SIZE, write_toy_domains

from edgeprune.domains import DomainDataset, Split, leave_one_out, open_dataset
from edgeprune.errors import ModelError
from edgeprune.files import sha256
from edgeprune.model import DenseOptions, Model, create
from edgeprune.schema import HistoryPoint
from edgeprune.training import FinetuneSettings, finetune
from edgeprune.training.averaging import Ema, Tensors, weights
from edgeprune.training.swad import Patience, Swad, Valley, find_valley
from edgeprune.training.trainer import Trainer

SMALL = Patience(start=3, end=4, tolerance=1.3)


def published(losses: list[float], patience: Patience) -> Valley:
    """Algorithm 1 of the paper, line by line, an iteration being an evaluation; from 0."""
    start, threshold = None, None
    for i in range(len(losses)):
        if threshold is None:
            window = [losses[i - k] for k in range(patience.start) if i - k >= 0]
            if len(window) == patience.start and window[-1] == min(window):
                start = i - patience.start + 1
                threshold = patience.tolerance / patience.start * sum(window)
        elif threshold < min(losses[i - k] for k in range(patience.end) if i - k >= 0):
            return Valley(start, i - patience.end)
    return Valley(start)


# sums of these are exact, in whatever order: a loss that equals the threshold does so for both
LOSSES = st.lists(st.sampled_from([0.5, 0.75, 0.875, 1.0, 1.25, 1.5, 2.0]), max_size=14)


@given(LOSSES, st.integers(1, 4), st.integers(1, 5), st.sampled_from([1.0, 1.25, 1.5]))
def test_the_valley_is_that_of_the_paper(
    losses: list[float], start: int, end: int, tolerance: float
) -> None:
    patience = Patience(start, end, tolerance)
    assert find_valley(losses, patience) == published(losses, patience)


def test_a_valley_starts_at_the_first_loss_that_stays_lowest_and_ends_before_the_rise() -> None:
    falling, flat, risen = [2.0, 1.5], [1.0, 1.1, 1.05, 1.2], [1.5, 1.6, 1.5, 1.7]
    assert find_valley(falling, SMALL) == Valley()
    assert find_valley(falling + flat, SMALL) == Valley(2)
    # three evaluations above 1.3 * 1.05 are not four
    assert find_valley(falling + flat + risen[:3], SMALL) == Valley(2)
    assert find_valley(falling + flat + risen, SMALL) == Valley(2, 5)


def _history(losses: list[float], every: int) -> list[HistoryPoint]:
    return [
        HistoryPoint(step=every * (n + 1), loss=1.0, source_val=50.0, source_val_loss=loss)
        for n, loss in enumerate(losses)
    ]


def _walk(
    losses: list[float], every: int, patience: Patience, restored: bool = False
) -> tuple[Swad, list[Tensors], int]:
    """Move a small module once a step, evaluate every few; return what was seen and held."""
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    generator = torch.Generator().manual_seed(0)
    average, seen, most = Swad(module, patience), [], 0
    for step in range(1, every * len(losses) + 1):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        average.update(step)
        seen.append(weights(module))
        history = _history(losses[: step // every], every)
        if step % every == 0:
            average.evaluated(history)
        if restored:
            parts = {key: dict(value) for key, value in average.parts().items()}
            average = Swad(module, patience)
            average.restore(parts, history)
        most = max(most, len(average.parts()))
        if average.ended:
            break
    return average, seen, most


@pytest.mark.parametrize("restored", [False, True])
@pytest.mark.parametrize(
    ("losses", "steps"),
    [
        ([2.0, 1.5, 1.0, 1.1, 1.05, 1.2, 1.5, 1.6, 1.5, 1.7, 9.0], (7, 18)),
        ([2.0, 1.5, 1.0, 1.1, 1.05, 1.2, 1.5, 1.6, 1.5], (7, 27)),
        ([2.0, 1.5, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4], (1, 27)),
        ([1.0], (1, 3)),
    ],
)
def test_swad_is_the_mean_of_the_weights_of_every_step_of_the_valley(
    losses: list[float], steps: tuple[int, int], restored: bool
) -> None:
    average, seen, most = _walk(losses, 3, SMALL, restored)
    mean = average.result()
    assert average.steps == steps
    assert average.ended == (len(losses) == 11)
    for name, value in mean.items():
        wanted = torch.stack([tensors[name] for tensors in seen[steps[0] - 1 : steps[1]]]).mean(0)
        torch.testing.assert_close(value, wanted)
    assert most <= max(SMALL.start, SMALL.end) + 1
    assert ("no valley" in average.summary()) == (steps[0] == 1)


def test_a_restored_swad_goes_on_with_the_same_bits() -> None:
    losses = [2.0, 1.5, 1.0, 1.1, 1.05, 1.2, 1.25, 1.1, 1.15]
    whole, _, _ = _walk(losses, 3, SMALL)
    parts, _, _ = _walk(losses, 3, SMALL, restored=True)
    for name, value in whole.result().items():
        assert torch.equal(value, parts.result()[name])


def test_ema_warms_up_and_then_decays() -> None:
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(0.0)
    average = Ema(module, decay=0.3)
    expected = 0.0
    for step in range(1, 9):
        with torch.no_grad():
            module.weight.fill_(float(step))
        average.update(step)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        assert average.module.weight.item() == pytest.approx(expected)  # type: ignore[union-attr]
    assert average.result() is None


@pytest.mark.parametrize("average", ["ema", "swad"])
def test_batch_normalisation_is_refused(average: str) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    settings = FinetuneSettings(average=average)
    with pytest.raises(ModelError, match="'1' is batch normalisation"):
        Trainer(module, None, settings, 1, torch.device("cpu"))
    Trainer(module, None, FinetuneSettings(), 1, torch.device("cpu"))


# What follows drives whole runs.

FAST: dict[str, Any] = {"steps": 8, "batch_size": 7, "eval_every": 2, "lr": 3e-4}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DomainDataset:
    return open_dataset(str(write_toy_domains(tmp_path_factory.mktemp("data") / "halves", 6)))


@pytest.fixture(scope="module")
def split(dataset: DomainDataset) -> Split:
    return leave_one_out(dataset, "night")


@pytest.fixture(scope="module")
def model() -> Model:
    return create(MODEL, DenseOptions(num_classes=3, img_size=SIZE, pretrained=False))


def _digest(output: Path) -> str:
    return sha256(output / "model.safetensors") + sha256(output / "edgeprune.json")


def _stop_at(monkeypatch: pytest.MonkeyPatch, step: int, method: str) -> None:
    original = getattr(Trainer, method)

    def stopping(self: Trainer, *arguments: Any) -> None:
        if self.step == step:
            raise KeyboardInterrupt
        original(self, *arguments)

    monkeypatch.setattr(Trainer, method, stopping)


def _with_losses(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Let the evaluations find these losses, one after another."""
    original = HistoryPoint

    def point(**facts: Any) -> HistoryPoint:
        facts["source_val_loss"] = losses[facts["step"] // FAST["eval_every"] - 1]
        return original(**facts)

    monkeypatch.setattr("edgeprune.training.trainer.HistoryPoint", point)


@pytest.mark.parametrize("average", ["ema", "swad"])
@pytest.mark.parametrize(("step", "method"), [(3, "update"), (4, "evaluate"), (7, "update")])
def test_resumed_average_ends_like_an_uninterrupted_one(
    model: Model,
    dataset: DomainDataset,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    average: str,
    step: int,
    method: str,
) -> None:
    settings = FinetuneSettings(**FAST, average=average, swad_start_patience=2, checkpoint_every=1)
    _with_losses(monkeypatch, [2.0, 1.0, 1.1, 1.2])
    whole = finetune(model, dataset, split, settings, output=tmp_path / "whole")
    out = tmp_path / "parts" / "out"
    with monkeypatch.context() as patch:
        _stop_at(patch, step, method)
        with pytest.raises(KeyboardInterrupt):
            finetune(model, dataset, split, settings, output=out)
    left = {path.suffix for path in (tmp_path / "parts/out.resume").iterdir()}
    assert left == {".safetensors", ".json"}
    parts = finetune(model, dataset, split, settings, output=out, resume=True)
    assert _digest(out) == _digest(tmp_path / "whole")
    assert (parts.history, parts.averaged_steps) == (whole.history, whole.averaged_steps)
    assert whole.averaged_steps == ((3, 8) if average == "swad" else None)


def test_swad_stops_where_the_valley_ends_and_says_what_it_averaged(
    model: Model,
    dataset: DomainDataset,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = FinetuneSettings(
        **FAST, average="swad", swad_start_patience=1, swad_end_patience=2, swad_tolerance=1.0
    )
    _with_losses(monkeypatch, [1.0, 2.0, 2.0])
    progress = Recorded()
    result = finetune(model, dataset, split, settings, output=tmp_path / "out", progress=progress)
    assert (result.steps, result.averaged_steps, result.best_step) == (6, (1, 2), 2)
    assert "SWAD: average of the weights after steps 1 to 2" in progress.lines
    record = json.loads((tmp_path / "out/edgeprune.json").read_text())
    assert record["made"][0]["averaged_steps"] == [1, 2]


def test_swad_without_a_valley_averages_all_steps_and_says_so(
    model: Model,
    dataset: DomainDataset,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _with_losses(monkeypatch, [4.0, 3.0, 2.0, 1.0])
    progress = Recorded()
    settings = FinetuneSettings(**FAST, average="swad")
    result = finetune(model, dataset, split, settings, output=tmp_path / "out", progress=progress)
    assert result.averaged_steps == (1, 8)
    assert any(line.startswith("SWAD: no valley") for line in progress.lines)


def test_what_the_ema_scores_is_what_is_kept(
    model: Model, dataset: DomainDataset, split: Split, tmp_path: Path
) -> None:
    plain = finetune(model, dataset, split, FinetuneSettings(**FAST), output=tmp_path / "plain")
    settings = FinetuneSettings(**FAST, average="ema")
    result = finetune(model, dataset, split, settings, output=tmp_path / "ema")
    assert [p.loss for p in result.history] == [p.loss for p in plain.history]
    assert result.history[0].source_val_loss != plain.history[0].source_val_loss
    best = next(p for p in result.history if p.step == result.best_step)
    assert result.dg.source_val_accuracy == best.source_val
    assert math.isfinite(best.source_val_loss or math.nan)
