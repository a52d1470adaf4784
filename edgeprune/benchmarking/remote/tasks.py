"""One model at one batch size: what is measured, and what the agent is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.benchmarking.candidates import Source
from edgeprune.benchmarking.remote.models import Parcel, inspect, is_engine, parcel
from edgeprune.benchmarking.remote.settings import Settings
from edgeprune.benchmarking.runtimes.base import Job, Loaded
from edgeprune.engines.files import read_record, record_path
from edgeprune.environment import THREAD_VARIABLES
from edgeprune.errors import UsageError

# What trtexec is told to build for a precision; TensorRT 11 takes it from the file and refuses it.
FLAGS = {"fp32": ["--noTF32"], "fp16": ["--fp16"], "int8": ["--int8", "--fp16"]}


@dataclass(frozen=True)
class Task:
    """A model at a batch size; ``input`` is None for an engine, ``shapes`` is told of its own."""

    job: Job
    source: Source
    parcel: Parcel
    loaded: Loaded
    input: dict[str, Any] | None
    shapes: tuple[str, ...] = ()

    @property
    def batch(self) -> int:
        """Images per call."""
        return self.job.batch

    def request(self, settings: Settings, trtexec: str | None, threads: int) -> dict[str, Any]:
        """Return what the agent is told."""
        request: dict[str, Any] = {
            "name": self.job.name,
            "file": f"{self.parcel.folder}/{self.parcel.name}",
            "sha256": self.parcel.digest,
        }
        if settings.runtime == "tensorrt":
            return request | self._for_trtexec(trtexec)
        variables = {name: str(threads) for name in THREAD_VARIABLES}
        return request | {
            "device": self.job.device,
            "threads": threads,
            "seed": self.job.seed,
            "input": self.input,
            "environment": {**variables, "MKL_DYNAMIC": "FALSE"},
        }

    def _for_trtexec(self, trtexec: str | None) -> dict[str, Any]:
        shapes = list(self.shapes)
        if self.input is not None and self.input["dynamic"]:
            lengths = "x".join(str(length) for length in self.input["shape"])
            shapes = [f"--shapes={self.input['name']}:{lengths}"]
        return {
            "trtexec": trtexec,
            "build": None if self.input is None else f"batch-{self.batch}.engine",
            "flags": FLAGS[self.loaded.precision],
            "shapes": shapes,
        }


def make_tasks(sources: Sequence[Source], settings: Settings) -> list[Task]:
    """Read every file once per batch size, before anything is copied.

    Raises:
        ModelError, UsageError: if a file does not take images of that batch size, or is not for
            the precision.
    """
    parcels = [parcel(source) for source in sources]
    return [
        _task(source, package, batch, settings)
        for batch in settings.batches
        for source, package in zip(sources, parcels, strict=True)
    ]


def _task(source: Source, package: Parcel, batch: int, settings: Settings) -> Task:
    job = Job(
        name=source.label,
        runtime=settings.runtime,
        source=source.path,
        device=settings.target,
        batch=batch,
        threads=settings.threads or 0,  # not known before the far machine is
        seed=settings.seed,
    )
    if is_engine(source):
        return _engine_task(job, source, package, settings)
    loaded, wanted = inspect(job)
    return Task(job, source, package, _with_precision(loaded, job, settings), wanted)


def _engine_task(job: Job, source: Source, package: Parcel, settings: Settings) -> Task:
    """Take what is known of an engine from the record beside it, if there is one."""
    path = Path(source.path)
    if not record_path(path).is_file():
        if settings.precision is None:
            raise UsageError(
                f"what precision the engine {source.file!r} was built for cannot be read from it",
                hint="--precision fp32, fp16 or int8 says it",
            )
        return Task(job, source, package, Loaded(0, settings.precision), None)
    record = read_record(path)
    if settings.precision not in (None, record.precision):
        raise UsageError(
            f"precision {settings.precision!r} was asked for, {source.file!r} is an engine in"
            f" {record.precision}"
        )
    profile = record.built.profile
    if not profile.min <= job.batch <= profile.max:
        raise UsageError(
            f"a batch of {job.batch} is not accepted by {source.file!r}; {profile.min} to"
            f" {profile.max} are"
        )
    loaded = Loaded(
        record.preprocess.img_size,
        record.precision,
        macs=record.macs,
        params=record.params,
        fingerprint=record.fingerprint,
    )
    (images,) = [tensor for tensor in record.tensors if tensor.mode == "input"]
    lengths = "x".join(map(str, [job.batch, *images.shape[1:]]))
    shapes = [f"--shapes={images.name}:{lengths}"] if profile.min < profile.max else []
    return Task(job, source, package, loaded, None, tuple(shapes))


def _with_precision(loaded: Loaded, job: Job, settings: Settings) -> Loaded:
    """Return what is known of a model that TensorRT may build for a lower precision."""
    asked = settings.precision
    if settings.runtime != "tensorrt" or asked is None or asked == loaded.precision:
        return loaded
    if (loaded.precision, asked) != ("fp32", "fp16"):
        raise UsageError(
            f"precision {asked!r} was asked for, {job.name!r} is an ONNX file in"
            f" {loaded.precision}; files in fp32 can also be built for fp16"
        )
    return Loaded(**{**vars(loaded), "precision": asked})
