from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from recorded_progress import Recorded
from sweeping_helpers import SPEC, FakeExecutor, write_spec
from toy_domains import write_toy_domains

from edgeprune.domains import open_dataset
from edgeprune.errors import DiskFullError, EdgepruneError, ModelError, UnavailableError
from edgeprune.progress import SILENT
from edgeprune.sweeping import SweepSpec, read_spec
from edgeprune.sweeping import run as run_module
from edgeprune.sweeping.driver import Driver
from edgeprune.sweeping.executor import Outcome, Site
from edgeprune.sweeping.layout import MODEL, RESULT_FILE, trial_directory
from edgeprune.sweeping.results import Row
from edgeprune.sweeping.run import sweep as run_sweep
from edgeprune.sweeping.store import STORE_FILE, Store, read_store
from edgeprune.sweeping.trials import Trial, plan


class Sweep:
    """A sweep in a folder, run as often as asked with executors that train nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        data = str(write_toy_domains(root / "toy", per_class=5))
        self.trials = plan(read_spec(write_spec(root)), open_dataset(data))
        self.site = Site(root, data, 1)
        self.store = Store(root / STORE_FILE)

    def run(self, end: Callable[[Trial], Outcome | None] = lambda trial: None) -> FakeExecutor:
        executor = FakeExecutor(self.root, end=end)
        driver = Driver(self.site, self.store, self.trials, SILENT)
        driver.take_stock("toy")
        driver.run(executor)
        return executor

    @property
    def rows(self) -> list[Row]:
        return read_store(self.root / STORE_FILE).rows


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    made = Sweep(tmp_path)
    yield made
    made.store.close()


def test_all_trials_are_done_once_and_in_order(sweep: Sweep) -> None:
    executor = sweep.run()
    assert sorted(executor.submitted) == sorted(trial.id for trial in sweep.trials)
    needs = {trial.id: trial.needs for trial in sweep.trials}
    for place, identity in enumerate(executor.submitted):
        assert needs[identity] is None or needs[identity] in executor.submitted[:place]
    assert [row.state for row in sweep.rows] == ["done"] * len(sweep.trials)
    assert [row.id for row in sweep.rows] == [trial.id for trial in sweep.trials]


def test_a_second_run_does_nothing_again(sweep: Sweep) -> None:
    sweep.run()
    before = sweep.rows
    assert sweep.run().submitted == []
    assert sweep.rows == before


def test_a_failing_trial_stops_nothing_else_and_is_tried_again_next_time(sweep: Sweep) -> None:
    bad = next(trial for trial in sweep.trials if trial.needs)

    def end(trial: Trial) -> Outcome | None:
        return Outcome(trial.id, error="the loss became nan") if trial.id == bad.id else None

    sweep.run(end)
    states = {row.id: row for row in sweep.rows}
    assert states[bad.id].state == "failed"
    assert states[bad.id].error == "the loss became nan"
    assert sum(row.state == "done" for row in sweep.rows) == len(sweep.trials) - 1
    assert sweep.run().submitted == [bad.id]
    assert all(row.state == "done" and row.error is None for row in sweep.rows)


def test_what_needs_a_failed_model_fails_with_its_error(sweep: Sweep) -> None:
    bad = sweep.trials[0]

    def end(trial: Trial) -> Outcome | None:
        return Outcome(trial.id, error="no weights") if trial.id == bad.id else None

    submitted = sweep.run(end).submitted
    failed = [row for row in sweep.rows if row.state == "failed"]
    assert {row.id for row in failed} == {
        bad.id,
        *(trial.id for trial in sweep.trials if trial.needs == bad.id),
    }
    assert all("no weights" in (row.error or "") for row in failed)
    assert not {row.id for row in failed} - {bad.id} & set(submitted)


def test_a_lost_worker_costs_one_more_attempt(sweep: Sweep) -> None:
    lost: set[str] = set()

    def end(trial: Trial) -> Outcome | None:
        if trial.id in lost:
            return None
        lost.add(trial.id)
        return Outcome(trial.id, error="its worker process ended (signal 9)", lost=True)

    executor = sweep.run(end)
    assert len(executor.submitted) == 2 * len(sweep.trials)
    assert all(row.state == "done" for row in sweep.rows)


def test_a_trial_that_always_loses_its_worker_fails(sweep: Sweep) -> None:
    bad = next(trial for trial in sweep.trials if trial.needs)

    def end(trial: Trial) -> Outcome | None:
        return Outcome(trial.id, error="signal 9", lost=True) if trial.id == bad.id else None

    executor = sweep.run(end)
    assert executor.submitted.count(bad.id) == 2
    row = next(row for row in sweep.rows if row.id == bad.id)
    assert (row.state, row.error) == ("failed", "signal 9")


def test_a_full_disk_stops_the_sweep_and_keeps_what_is_done(sweep: Sweep) -> None:
    def end(trial: Trial) -> Outcome | None:
        if len(done) == 3:
            return Outcome(trial.id, error="no space left on the disk", fatal=True)
        done.append(trial.id)
        return None

    done: list[str] = []
    with pytest.raises(DiskFullError, match="no space left"):
        sweep.run(end)
    assert {row.id for row in sweep.rows if row.state == "done"} == set(done)
    assert not set(sweep.run().submitted) & set(done)
    assert all(row.state == "done" for row in sweep.rows)


def test_the_store_is_made_again_from_the_trials(sweep: Sweep) -> None:
    sweep.run()
    before = sweep.rows
    sweep.store.close()
    for path in sweep.root.glob(f"{STORE_FILE}*"):
        path.unlink()
    sweep.store = Store(sweep.root / STORE_FILE)
    assert sweep.run().submitted == []
    assert sweep.rows == before


@pytest.mark.parametrize("lost", ["damaged", "no model"])
def test_a_trial_that_is_no_longer_whole_is_done_again(sweep: Sweep, lost: str) -> None:
    sweep.run()
    directory = trial_directory(sweep.root, sweep.trials[-1].id)
    if lost == "damaged":
        (directory / RESULT_FILE).write_text("{", encoding="utf-8")
    else:
        (directory / MODEL).rmdir()
    assert sweep.run().submitted == [sweep.trials[-1].id]
    assert all(row.state == "done" for row in sweep.rows)


def toy_spec(folder: Path, old: str = "", new: str = "") -> SweepSpec:
    data = str(write_toy_domains(folder / "toy", per_class=5))
    path = write_spec(folder, text=SPEC.replace(old, new))
    return read_spec(path).model_copy(update={"data": data})


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("checkpoint_every = 1", 'precision = "fp16"', UnavailableError, "trained in on the CPU"),
        ("vit_tiny_patch16_224", "resnet18", ModelError, "'resnet18' belongs to no"),
        ("img_size = 32", "img_size = 9", ModelError, "image size 9 is not accepted"),
        ("pretrained = false", 'weights = "toy.toml"', ModelError, "not a .safetensors file"),
        ("[[prune]]", '[bench]\ndevice = "cuda"\n[[prune]]', UnavailableError, "'cuda'"),
    ],
)
def test_what_cannot_be_done_here_is_refused_before_anything_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    old: str,
    new: str,
    error: type[EdgepruneError],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.toml").write_text("", encoding="utf-8")
    executor = FakeExecutor(tmp_path)
    monkeypatch.setattr(run_module, "_executor", lambda *_: executor)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    spec = toy_spec(tmp_path, old, new)
    (tmp_path / "empty").mkdir()
    for output in ("empty", "a/b"):
        with pytest.raises(error, match=message):
            run_sweep(spec, tmp_path / output)
    assert executor.submitted == []
    assert list((tmp_path / "empty").iterdir()) == []
    assert not (tmp_path / "a").exists()


def test_a_precision_that_the_cpu_imitates_is_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr(Driver, "run", lambda *_: None)
    executor = FakeExecutor(tmp_path)
    monkeypatch.setattr(run_module, "_executor", lambda *_: executor)
    spec = toy_spec(tmp_path, "checkpoint_every = 1", 'precision = "bf16"')
    progress = Recorded()
    run_sweep(spec, tmp_path / "out", progress=progress)
    assert [line for line in progress.lines if "no fast bf16" in line] == progress.lines[:1]
    assert executor.closed
