from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_progress import Recorded
from toy_domains import MODEL, SIZE, write_toy_domains

from edgeprune import artifact
from edgeprune.domains import DomainDataset, Split, leave_one_out, load_images, open_dataset
from edgeprune.errors import (
    CheckError,
    EdgepruneError,
    ModelError,
    OutputError,
    UnavailableError,
    UsageError,
)
from edgeprune.files import sha256
from edgeprune.model import DenseOptions, Model, create
from edgeprune.predictions import PREDICTIONS_FILE, read_predictions
from edgeprune.selection import selection_of
from edgeprune.training import FinetuneSettings, evaluate, finetune, job
from edgeprune.training import finetuning as module_under_test
from edgeprune.training.evaluation import Tally, dg_result
from edgeprune.training.trainer import Trainer

FAST = FinetuneSettings(steps=6, batch_size=7, eval_every=2, checkpoint_every=1, lr=3e-4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DomainDataset:
    return open_dataset(str(write_toy_domains(tmp_path_factory.mktemp("data") / "halves")))


@pytest.fixture(scope="module")
def split(dataset: DomainDataset) -> Split:
    return leave_one_out(dataset, "night")


@pytest.fixture(scope="module")
def model() -> Model:
    return create(MODEL, DenseOptions(num_classes=3, img_size=SIZE, pretrained=False))


def _digest(output: Path) -> str:
    return sha256(output / "model.safetensors") + sha256(output / "edgeprune.json")


def _leftovers(output: Path) -> list[str]:
    return sorted(path.name for path in output.parent.iterdir() if path != output)


def _stop_at(monkeypatch: pytest.MonkeyPatch, step: int, method: str = "update") -> None:
    """Press Ctrl-C when a trainer has done ``step`` steps and calls ``method``."""
    original = getattr(Trainer, method)

    def stopping(self: Trainer, *arguments: Any) -> None:
        if self.step == step:
            raise KeyboardInterrupt
        original(self, *arguments)

    monkeypatch.setattr(Trainer, method, stopping)


def test_learns_and_writes_what_was_learnt(
    model: Model, dataset: DomainDataset, split: Split, tmp_path: Path
) -> None:
    settings = FinetuneSettings(steps=20, batch_size=16, lr=3e-4, eval_every=10)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    result = finetune(model, dataset, split, settings, output=tmp_path / "out")
    assert result.history[0].loss > result.history[-1].loss
    assert result.dg.source_val_accuracy > 90
    assert [point.step for point in result.history] == [10, 20]
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, before[name])
    loaded = artifact.load(tmp_path / "out")
    assert evaluate(loaded, dataset, split).dg == result.dg == loaded.record.dg
    assert (result.seed, result.fingerprint) == (0, loaded.record.weights_sha256)
    assert result.machine is not None
    assert result.versions == loaded.record.made[-1].versions
    kept = read_predictions(tmp_path / "out" / PREDICTIONS_FILE)
    assert kept.facts.weights_sha256 == loaded.record.weights_sha256
    assert dg_result(kept, "source") == result.dg
    (tmp_path / "out" / PREDICTIONS_FILE).unlink()
    assert artifact.load(tmp_path / "out").record == loaded.record
    assert loaded.record.class_names == list(dataset.classes)
    assert loaded.record.history == result.history
    (made,) = loaded.record.made
    assert (made.command, made.seed, made.options["steps"]) == ("finetune", 0, 20)
    assert made.data is not None
    assert (made.data.target, made.data.samples) == ("night", 48)
    assert _leftovers(tmp_path / "out") == []


def test_same_seed_same_bytes_other_seed_others(
    model: Model, dataset: DomainDataset, split: Split, tmp_path: Path
) -> None:
    finetune(model, dataset, split, FAST, output=tmp_path / "one")
    finetune(model, dataset, split, FAST, output=tmp_path / "two")
    assert _digest(tmp_path / "one") == _digest(tmp_path / "two")
    kept = [(tmp_path / name / PREDICTIONS_FILE).read_bytes() for name in ("one", "two")]
    assert kept[0] == kept[1]
    other = FinetuneSettings(**{**FAST.decisive(), "seed": 1})
    finetune(model, dataset, split, other, output=tmp_path / "three")
    assert sha256(tmp_path / "one/model.safetensors") != sha256(
        tmp_path / "three/model.safetensors"
    )
    text = (tmp_path / "one/edgeprune.json").read_text()
    assert str(tmp_path) not in text
    assert "seconds" not in text


@pytest.mark.parametrize(
    ("step", "method", "selection"),
    [
        (1, "update", "source"),
        (3, "update", "oracle"),
        (3, "update", "last"),
        (4, "evaluate", "source"),
    ],
)
def test_resumed_run_ends_like_an_uninterrupted_one(
    model: Model,
    dataset: DomainDataset,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    method: str,
    selection: str,
) -> None:
    settings = FinetuneSettings(
        **{**FAST.decisive(), "selection": selection}, checkpoint_every=FAST.checkpoint_every
    )
    whole = finetune(model, dataset, split, settings, output=tmp_path / "whole", teacher=model)
    arguments = {"output": tmp_path / "parts" / "out", "teacher": model}
    # checkpoint_every 100: only what the interruption itself writes can be resumed from
    rare = FinetuneSettings(**settings.decisive(), checkpoint_every=100)
    with monkeypatch.context() as patch:
        _stop_at(patch, step, method)
        with pytest.raises(KeyboardInterrupt):
            finetune(model, dataset, split, rare, **arguments)
    assert _leftovers(tmp_path / "parts" / "out") == ["out.resume"]
    with pytest.raises(OutputError, match="interrupted run") as caught:
        finetune(model, dataset, split, settings, **arguments)
    assert caught.value.hint == "--resume continues it, --force starts over"
    progress = Recorded()
    parts = finetune(model, dataset, split, settings, resume=True, progress=progress, **arguments)
    assert progress.lines[0] == f"resuming after step {step} of 6"
    assert _digest(tmp_path / "parts" / "out") == _digest(tmp_path / "whole")
    assert parts.history == whole.history
    assert _leftovers(tmp_path / "parts" / "out") == []


def test_mixing_and_left_out_branches_are_resumed_alike(
    model: Model,
    dataset: DomainDataset,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = FinetuneSettings(**{**FAST.decisive(), "steps": 4, "mixup": 0.4, "drop_path": 0.3})
    finetune(model, dataset, split, drawn, output=tmp_path / "whole")
    with monkeypatch.context() as patch:
        _stop_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            finetune(model, dataset, split, drawn, output=tmp_path / "parts")
    finetune(model, dataset, split, drawn, output=tmp_path / "parts", resume=True)
    assert _digest(tmp_path / "parts") == _digest(tmp_path / "whole")


@pytest.mark.parametrize("other", [{"mixup": 0.4}, {"drop_path": 0.3}], ids=str)
def test_each_option_changes_the_training(
    model: Model, dataset: DomainDataset, split: Split, tmp_path: Path, other: dict[str, float]
) -> None:
    plain = {"steps": 2, "batch_size": 7, "eval_every": 1}
    first = finetune(model, dataset, split, FinetuneSettings(**plain), output=tmp_path / "a")
    second = finetune(
        model, dataset, split, FinetuneSettings(**plain, **other), output=tmp_path / "b"
    )
    assert first.history[0].loss != second.history[0].loss


def test_the_teacher_sees_the_mixed_images(
    model: Model, dataset: DomainDataset, split: Split, tmp_path: Path
) -> None:
    teacher = create(MODEL, DenseOptions(num_classes=3, img_size=SIZE, pretrained=False, seed=1))
    seen: dict[str, list[torch.Tensor]] = {"student": [], "teacher": []}

    def recorder(who: str, training: bool) -> Any:
        def record(module: torch.nn.Module, arguments: Any) -> None:
            if module.training == training:
                seen[who].append(arguments[0])

        return record

    hook = model.module.register_forward_pre_hook(recorder("student", True))
    teacher.module.register_forward_pre_hook(recorder("teacher", False))
    settings = FinetuneSettings(steps=2, batch_size=6, mixup=0.4)
    try:
        finetune(model, dataset, split, settings, output=tmp_path / "out", teacher=teacher)
    finally:
        hook.remove()
    assert len(seen["student"]) == len(seen["teacher"]) == 2
    for student, other in zip(seen["student"], seen["teacher"], strict=True):
        assert torch.equal(student, other)


def test_force_starts_an_interrupted_run_over(
    model: Model,
    dataset: DomainDataset,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        _stop_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            finetune(model, dataset, split, FAST, output=tmp_path / "out")
    finetune(model, dataset, split, FAST, output=tmp_path / "out", force=True)
    finetune(model, dataset, split, FAST, output=tmp_path / "fresh")
    assert _digest(tmp_path / "out") == _digest(tmp_path / "fresh")


def test_resuming_another_run_names_the_difference(
    model: Model,
    dataset: DomainDataset,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        _stop_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            finetune(model, dataset, split, FAST, output=out)
    other_lr = FinetuneSettings(**{**FAST.decisive(), "lr": 1e-3})
    with pytest.raises(UsageError, match=r"options lr was 0.0003, now it is 0.001"):
        finetune(model, dataset, split, other_lr, output=out, resume=True)
    with pytest.raises(UsageError, match="data target was 'night', now it is 'day'"):
        finetune(model, dataset, leave_one_out(dataset, "day"), FAST, output=out, resume=True)
    with pytest.raises(UsageError, match="teacher was None"):
        finetune(model, dataset, split, FAST, output=out, teacher=model, resume=True)
    reseeded = DenseOptions(num_classes=3, img_size=SIZE, pretrained=False, seed=1)
    with pytest.raises(UsageError, match="model weights was"):
        finetune(create(MODEL, reseeded), dataset, split, FAST, output=out, resume=True)


def test_damaged_state_is_refused(
    model: Model,
    dataset: DomainDataset,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        _stop_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            finetune(model, dataset, split, FAST, output=out)
    state = json.loads((tmp_path / "out.resume/state.json").read_text())
    tensors = tmp_path / "out.resume" / state["tensors"]
    tensors.write_bytes(tensors.read_bytes()[:-100])
    with pytest.raises(EdgepruneError, match="not a readable safetensors file"):
        finetune(model, dataset, split, FAST, output=out, resume=True)


def test_resume_with_nothing_there_starts_and_says_so(
    model: Model, dataset: DomainDataset, split: Split, tmp_path: Path
) -> None:
    progress = Recorded()
    one = FinetuneSettings(steps=1, batch_size=4)
    finetune(model, dataset, split, one, output=tmp_path / "o", resume=True, progress=progress)
    assert progress.lines[0] == "nothing to resume: starting at step 1"


def test_the_target_is_read_once_after_training(
    model: Model,
    dataset: DomainDataset,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []

    def recorded(samples: Any, *arguments: Any, **options: Any) -> Any:
        events.append("+".join(sorted({sample.domain for sample in samples})))
        return load_images(samples, *arguments, **options)

    def updating(self: Trainer, *batch: torch.Tensor) -> None:
        events.append("update")
        original(self, *batch)

    original = Trainer.update
    monkeypatch.setattr(job, "load_images", recorded)
    monkeypatch.setattr(Trainer, "update", updating)
    finetune(model, dataset, split, FAST, output=tmp_path / "out")
    assert events == ["day", "dusk", "day+dusk", *["update"] * 6, "night"]


def test_the_best_step_is_kept_not_the_last(
    model: Model,
    dataset: DomainDataset,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = FinetuneSettings(steps=20, batch_size=16, lr=3e-4, eval_every=10)
    original = Trainer.update

    def spoiled(self: Trainer, *batch: torch.Tensor) -> None:
        original(self, *batch)
        if self.step > 10:
            with torch.no_grad():
                self.module.get_parameter("head.bias")[0] += 100.0

    monkeypatch.setattr(Trainer, "update", spoiled)
    result = finetune(model, dataset, split, good, output=tmp_path / "out")
    first, last = result.history
    assert first.source_val > last.source_val
    assert result.best_step == 10
    assert result.dg.source_val_accuracy == first.source_val


def test_selection_decides_which_step_is_kept(
    model: Model,
    dataset: DomainDataset,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What the evaluations find: source validation is best at step 2, the target at step 4.
    found = iter([(90.0, 40.0), (80.0, 70.0), (70.0, 50.0)] * 3)

    now: list[float] = []

    def scripted(self: Trainer, stores: Any, progress: Any, module: Any) -> list[Tally]:
        if "night" not in stores:
            now[:] = next(found)
        return [Tally(int(now["night" in stores]), 100, 0.0) for _ in stores]

    monkeypatch.setattr(Trainer, "_tallies", scripted)
    weights = {}
    for selection, step in (("source", 2), ("oracle", 4), ("last", 6)):
        settings = FinetuneSettings(**{**FAST.decisive(), "selection": selection})
        result = finetune(model, dataset, split, settings, output=tmp_path / selection)
        assert result.best_step == step
        assert result.dg.selection == selection
        weights[selection] = sha256(tmp_path / selection / "model.safetensors")
        targets = [point.target for point in result.history]
        assert targets == ([40.0, 70.0, 50.0] if selection == "oracle" else [None] * 3)
        record = artifact.read_record(tmp_path / selection)
        assert selection_of(record.made) == selection
    assert len(set(weights.values())) == 3


def test_what_the_target_picked_stays_marked(
    model: Model, dataset: DomainDataset, split: Split, tmp_path: Path
) -> None:
    one = FinetuneSettings(steps=1, batch_size=4, selection="oracle")
    finetune(model, dataset, split, one, output=tmp_path / "oracle")
    progress = Recorded()
    parent = artifact.load(tmp_path / "oracle")
    again = FinetuneSettings(steps=1, batch_size=4)
    result = finetune(
        parent, dataset, split, again, output=tmp_path / "again", teacher=parent, progress=progress
    )
    assert result.dg.selection == "oracle"
    marks = [line for line in progress.lines if "the target picked the step" in line]
    assert [line.split(" was")[0] for line in marks] == ["note: the model", "note: the teacher"]


def test_loss_that_is_not_finite_stops_the_run(
    dataset: DomainDataset, split: Split, tmp_path: Path
) -> None:
    broken = create(MODEL, DenseOptions(num_classes=3, img_size=SIZE, pretrained=False))
    with torch.no_grad():
        broken.module.get_parameter("head.weight").fill_(torch.inf)
    with pytest.raises(CheckError, match="became nan at step 1") as caught:
        finetune(broken, dataset, split, FAST, output=tmp_path / "out")
    assert "--lr" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_bf16_learns_and_keeps_fp32_weights(
    model: Model, dataset: DomainDataset, split: Split, tmp_path: Path
) -> None:
    settings = FinetuneSettings(steps=2, batch_size=4, precision="bf16")
    finetune(model, dataset, split, settings, output=tmp_path / "out")
    tensors = artifact.load(tmp_path / "out").module.state_dict()
    assert {value.dtype for value in tensors.values()} == {torch.float32}
    assert not torch.equal(tensors["head.weight"], model.module.get_parameter("head.weight"))


@pytest.mark.parametrize(("fast", "precision"), [(True, "bf16"), (False, "bf16"), (False, "fp32")])
def test_a_precision_that_the_cpu_imitates_is_warned_of(
    model: Model,
    dataset: DomainDataset,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fast: bool,
    precision: str,
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: fast)
    settings = FinetuneSettings(steps=1, batch_size=4, precision=precision)
    progress = Recorded()
    finetune(model, dataset, split, settings, output=tmp_path / "out", progress=progress)
    warned = any("no fast bf16" in line for line in progress.lines)
    assert warned == (precision == "bf16" and not fast)


def test_fp16_scales_its_loss_and_resumes(
    model: Model,
    dataset: DomainDataset,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the CPU, where it is refused for its slowness: the code is that of a GPU."""
    monkeypatch.setattr(module_under_test, "open_device", lambda *_: torch.device("cpu"))
    settings = FinetuneSettings(**{**FAST.decisive(), "precision": "fp16"})
    whole = finetune(model, dataset, split, settings, output=tmp_path / "whole")
    with monkeypatch.context() as patch:
        _stop_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            finetune(model, dataset, split, settings, output=tmp_path / "parts")
    state = json.loads((tmp_path / "parts.resume/state.json").read_text())
    assert state["scaler"]["scale"] > 1
    parts = finetune(model, dataset, split, settings, output=tmp_path / "parts", resume=True)
    assert _digest(tmp_path / "parts") == _digest(tmp_path / "whole")
    assert parts.history == whole.history
    tensors = artifact.load(tmp_path / "whole").module.state_dict()
    assert {value.dtype for value in tensors.values()} == {torch.float32}


def test_what_this_machine_lacks_is_said(
    model: Model, dataset: DomainDataset, split: Split, tmp_path: Path
) -> None:
    with pytest.raises(UnavailableError, match="'fp16' cannot be trained in on the CPU"):
        finetune(model, dataset, split, FinetuneSettings(precision="fp16"), output=tmp_path / "out")
    if not torch.cuda.is_available():
        with pytest.raises(UnavailableError, match="no CUDA GPU"):
            finetune(model, dataset, split, FinetuneSettings(device="cuda"), output=tmp_path / "o")


def test_models_that_do_not_fit_are_refused(
    model: Model, dataset: DomainDataset, split: Split, tmp_path: Path
) -> None:
    four = create(MODEL, DenseOptions(num_classes=4, img_size=SIZE, pretrained=False))
    larger = create(MODEL, DenseOptions(num_classes=3, img_size=48, pretrained=False))
    out = tmp_path / "out"
    with pytest.raises(ModelError, match="4 classes, the data have 3") as caught:
        finetune(four, dataset, split, FAST, output=out)
    assert "--num-classes 3" in str(caught.value.hint)
    with pytest.raises(ModelError, match="teacher: the model has 4 classes"):
        finetune(model, dataset, split, FAST, output=out, teacher=four)
    with pytest.raises(ModelError, match="48 px"):
        finetune(model, dataset, split, FAST, output=out, teacher=larger)
