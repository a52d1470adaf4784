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
from edgeprune.benchmarking.runtimes.tensorrt import loaded_of
from edgeprune.benchmarking.runtimes.trtexec import engine_shapes, shape_words
from edgeprune.engines.files import check_batch, read_record, record_path
from edgeprune.environment import THREAD_VARIABLES
from edgeprune.errors import UsageError
from edgeprune.schema import EngineRecord

# What trtexec is told to build for a precision; TensorRT 11 takes it from the file and refuses it.
FLAGS = {"fp32": ["--noTF32"], "fp16": ["--fp16"], "int8": ["--int8", "--fp16"]}


@dataclass(frozen=True)
class Task:
    """A model at a batch size.

    ``input`` is None for an engine; ``shapes`` is what trtexec is told of an input that varies.
    """

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
        return {
            "trtexec": trtexec,
            "build": None if self.input is None else f"batch-{self.batch}.engine",
            "flags": FLAGS[self.loaded.precision],
            "shapes": list(self.shapes),
        }


def make_tasks(sources: Sequence[Source], settings: Settings) -> list[Task]:
    """Read every file once per batch size, before anything is copied.

    Raises:
        ModelError, UsageError: if a file does not take images of that batch size, or is not for
            the precision.
        EngineError: if an engine is not the one that the record beside it describes.
    """
    parcels = [parcel(source) for source in sources]
    records = [_record(source) for source in sources]
    return [
        _task(source, package, record, batch, settings)
        for batch in settings.batches
        for source, package, record in zip(sources, parcels, records, strict=True)
    ]


def _record(source: Source) -> EngineRecord | None:
    """Return what stands beside an engine; None for another file, or where there is nothing."""
    path = Path(source.path)
    return read_record(path) if is_engine(source) and record_path(path).is_file() else None


def _task(
    source: Source, package: Parcel, record: EngineRecord | None, batch: int, settings: Settings
) -> Task:
    job = Job(
        name=source.label,
        runtime=settings.runtime,
        source=source.path,
        device=settings.target,
        batch=batch,
        threads=settings.threads or 0,  # not known before the far machine is
        seed=settings.seed,
    )
    if record is not None:
        return _engine_task(job, source, package, record, settings)
    if is_engine(source):
        if settings.precision is None:
            raise UsageError(
                f"what precision the engine {source.file!r} was built for cannot be read from it",
                hint="--precision fp32, fp16 or int8 says it",
            )
        return Task(job, source, package, Loaded(0, settings.precision), None)
    loaded, wanted = inspect(job)
    shapes = shape_words(wanted["name"], wanted["shape"]) if wanted["dynamic"] else ()
    return Task(job, source, package, _with_precision(loaded, job, settings), wanted, shapes)


def _engine_task(
    job: Job, source: Source, package: Parcel, record: EngineRecord, settings: Settings
) -> Task:
    if settings.precision not in (None, record.precision):
        raise UsageError(
            f"precision {settings.precision!r} was asked for, {source.file!r} is an engine in"
            f" {record.precision}"
        )
    check_batch(record, job.batch)
    shapes = engine_shapes(record, job.batch)
    return Task(job, source, package, loaded_of(record), None, shapes)


def _with_precision(loaded: Loaded, job: Job, settings: Settings) -> Loaded:
    """Return what is known of a model that TensorRT may build for a lower precision."""
    asked = settings.precision
    if asked is None or asked == loaded.precision:
        return loaded
    builds = settings.runtime == "tensorrt"
    if not builds or (loaded.precision, asked) != ("fp32", "fp16"):
        raise UsageError(
            f"precision {asked!r} was asked for, {job.name!r} is an ONNX file in"
            f" {loaded.precision}"
            + ("; files in fp32 can also be built for fp16" if builds else "")
        )
    return Loaded(**{**vars(loaded), "precision": asked})
