"""The state that an interrupted run continues from: safetensors and JSON, no pickle.

It lies beside the output, in ``<output>.resume/``, until the output is complete. ``state.json``
names the tensor files that belong to it and is replaced last, so that a kill at any moment
leaves the old state or the new one.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
import torch

from edgeprune.artifact import check_tensors, read_tensors
from edgeprune.errors import ArtifactError, OutputError, UsageError
from edgeprune.files import output_file, write_text
from edgeprune.schema import Document, HistoryPoint, read_document
from edgeprune.training.averaging import Tensors, weights
from edgeprune.training.processes import SINGLE, Processes
from edgeprune.training.trainer import Trainer

STATE_FILE = "state.json"
START_OVER = "--force starts over"


class ResumeState(Document):
    """``state.json``: what a run is (``identity``), and how far it has come."""

    SCHEMA: ClassVar[str] = "edgeprune/resume@1"

    identity: dict[str, Any]
    step: int
    history: list[HistoryPoint]
    loss_sum: float
    train_seconds: float
    teacher_seconds: float = 0.0
    evaluate_seconds: float
    total_seconds: float
    scaler: dict[str, int | float]
    tensors: str
    best: str | None
    averages: dict[str, str]


class ResumeDirectory:
    """Where the state of the run that is to become ``output`` is kept."""

    def __init__(self, output: Path) -> None:
        absolute = output.absolute()
        self.path = absolute.parent / f"{absolute.name}.resume"

    def exists(self) -> bool:
        """Tell whether there is a state to continue from."""
        return (self.path / STATE_FILE).exists()

    def remove(self) -> None:
        """Remove the state."""
        shutil.rmtree(self.path, ignore_errors=True)

    def write(self, trainer: Trainer, identity: dict[str, Any], total_seconds: float) -> None:
        """Write the state of ``trainer`` and remove the one before it.

        Raises:
            OutputError: if it cannot be written; the one before it stays.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        tensors = f"step-{trainer.step}.safetensors"
        _write_tensors(self.path / tensors, _running(trainer))
        best = f"best-{trainer.best_point.step}.safetensors" if trainer.best else None
        if best is not None:
            self._write_once(best, trainer.best)
        averages = {}
        for steps, values in trainer.average.parts().items():
            averages[steps] = f"average-{steps}.safetensors"
            self._write_once(averages[steps], values)
        state = ResumeState(
            identity=identity,
            step=trainer.step,
            history=trainer.history,
            loss_sum=trainer.loss_sum,
            train_seconds=trainer.train_seconds,
            teacher_seconds=trainer.teacher_seconds,
            evaluate_seconds=trainer.evaluate_seconds,
            total_seconds=total_seconds,
            scaler=trainer.scaler.state_dict(),
            tensors=tensors,
            best=best,
            averages=averages,
        )
        write_text(self.path / STATE_FILE, state.to_json())
        for path in self.path.iterdir():
            if path.name not in (STATE_FILE, tensors, best, *averages.values()):
                path.unlink()

    def read(
        self, trainer: Trainer, identity: dict[str, Any], processes: Processes = SINGLE
    ) -> float:
        """Put ``trainer`` into the state that was written; return the seconds spent so far.

        The main process reads, since others may be on hosts that do not have the files.

        Raises:
            UsageError: if the state is that of another run, naming the first difference.
            ArtifactError: if it is damaged.
        """
        state, running, best, averages = processes.from_main(lambda: self._load(identity))
        _restore(trainer, running)
        if state.best is not None:
            check_tensors(best, trainer.module.state_dict(), str(self.path / state.best))
            trainer.best = best
        for name, tensors in averages.items():
            check_tensors(tensors, trainer.module.state_dict(), str(self.path / name))
        if averages:
            by_segment = {s: averages[name] for s, name in state.averages.items()}
            trainer.average.restore(by_segment, state.history)
        trainer.scaler.load_state_dict(state.scaler)
        trainer.step = state.step
        trainer.history = list(state.history)
        trainer.loss_sum = state.loss_sum
        trainer.train_seconds = state.train_seconds
        trainer.teacher_seconds = state.teacher_seconds
        trainer.evaluate_seconds = state.evaluate_seconds
        return state.total_seconds

    def _write_once(self, name: str, tensors: Tensors) -> None:
        """Write tensors whose name says which they are, unless an earlier state did."""
        if not (self.path / name).exists():
            _write_tensors(self.path / name, tensors)

    def _load(
        self, identity: dict[str, Any]
    ) -> tuple[ResumeState, Tensors, Tensors, dict[str, Tensors]]:
        state = read_document(self.path / STATE_FILE, ResumeState, ArtifactError)
        _check_identity(state.identity, identity)
        best = read_tensors(self.path / state.best) if state.best is not None else {}
        averages = {name: read_tensors(self.path / name) for name in state.averages.values()}
        return state, read_tensors(self.path / state.tensors), best, averages


def open_resume(output: Path, *, resume: bool, force: bool) -> ResumeDirectory:
    """Return the resume directory of ``output``, empty unless ``resume``.

    Raises:
        OutputError: if a run was interrupted there and neither option says what to do with it.
    """
    directory = ResumeDirectory(output)
    if directory.exists():
        if resume:
            return directory
        if not force:
            raise OutputError(
                f"an interrupted run left its state in {str(directory.path)!r}",
                hint=f"--resume continues it, {START_OVER}",
            )
    directory.remove()  # also what a run left that was killed before its first state was whole
    return directory


def _write_tensors(path: Path, tensors: Tensors) -> None:
    with output_file(path) as scratch:
        scratch.write_bytes(safetensors.torch.save(tensors))


def _running(trainer: Trainer) -> Tensors:
    """Weights as ``weights.NAME``, moments and step counts as ``exp_avg.NAME`` and so on."""
    tensors = {f"weights.{name}": value for name, value in weights(trainer.module).items()}
    for name, parameter in trainer.module.named_parameters():
        for kind, value in trainer.optimiser.state.get(parameter, {}).items():
            tensors[f"{kind}.{name}"] = value.detach().to("cpu", copy=True).contiguous()
    return tensors


def _restore(trainer: Trainer, tensors: Tensors) -> None:
    by_kind: dict[str, Tensors] = {}
    for key, value in tensors.items():
        kind, _, name = key.partition(".")
        by_kind.setdefault(kind, {})[name] = value
    found = by_kind.pop("weights", {})
    check_tensors(found, trainer.module.state_dict(), "the state to resume from")
    with torch.no_grad():
        trainer.module.load_state_dict(found)
    for name, parameter in trainer.module.named_parameters():
        state = {
            kind: values[name].to(parameter.device)
            for kind, values in by_kind.items()
            if name in values
        }
        if state:
            trainer.optimiser.state[parameter] = state


def check_same_run(processes: Processes, identity: dict[str, Any]) -> None:
    """Check that every process is about to do the same run as the main one.

    Raises:
        UsageError: naming the first difference, such as other images on another host.
    """
    main = processes.from_main(lambda: identity)
    found = _difference(main, identity)
    if found is not None:
        key, there, here = found
        raise UsageError(
            f"the processes do not do the same run: {key} is {there!r} in process 0,"
            f" {here!r} in process {processes.rank}"
        )


def _check_identity(before: dict[str, Any], now: dict[str, Any]) -> None:
    found = _difference(before, now)
    if found is not None:
        key, old, new = found
        raise UsageError(
            f"the interrupted run cannot be resumed: {key} was {old!r}, now it is {new!r}",
            hint=f"repeat the command as it was, or {START_OVER}",
        )


def _difference(before: dict[str, Any], now: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """Return the first key whose values differ, with both values."""
    old, new = _flat(before), _flat(now)
    for key in [*new, *(key for key in old if key not in new)]:
        if old.get(key) != new.get(key):
            return key, old.get(key), new.get(key)
    return None


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            flat |= _flat(item, f"{prefix}{key} ")
        else:
            flat[prefix + key] = item
    return flat
