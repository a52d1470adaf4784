"""What is copied to the far machine, and what its agent has to know of each file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgeprune.benchmarking.candidates import (
    EXTERNAL_DATA_LIMIT_BYTES,
    Candidate,
    Source,
    engine_source,
    find,
    loadable,
)
from edgeprune.benchmarking.runtimes import onnxruntime
from edgeprune.benchmarking.runtimes.base import Job, Loaded
from edgeprune.engines.files import SUFFIX
from edgeprune.errors import ModelError, UsageError
from edgeprune.files import sha256
from edgeprune.progress import Progress

ENGINES = (SUFFIX, ".plan", ".trt")
# ONNX's element types, and the names that ONNX Runtime and numpy have for them.
TYPES = {1: ("tensor(float)", "float32"), 10: ("tensor(float16)", "float16")}
TYPES |= {2: ("tensor(uint8)", "uint8")}


@dataclass(frozen=True)
class Parcel:
    """A model file, the files beside it that hold its weights, and its folder there."""

    path: Path
    digest: str
    beside: tuple[Path, ...]
    folder: str

    @property
    def name(self) -> str:
        """Its name in that folder."""
        return f"{self.digest}{self.path.suffix.lower()}"

    def files(self) -> Iterator[tuple[Path, str]]:
        """Yield what is to be copied, and its name there."""
        yield from ((path, path.name) for path in self.beside)
        yield self.path, self.name


def find_sources(candidates: Sequence[Candidate], runtime: str) -> list[Source]:
    """Find candidates as a local bench does; TensorRT also takes ready engines.

    Raises:
        ArtifactError, ModelError, UsageError: as :func:`edgeprune.benchmarking.candidates.find`.
    """
    engines = [c for c in candidates if Path(c.reference).suffix.lower() in ENGINES]
    if engines and runtime != "tensorrt":
        raise UsageError(
            f"runtime {runtime!r} cannot load the engine {engines[0].reference!r}",
            hint="--runtime tensorrt measures engines",
        )
    others = iter(find([c for c in candidates if c not in engines], "onnx", runtime))
    sources = [_engine(c) if c in engines else next(others) for c in candidates]
    labels = [source.label for source in sources]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"two models are called {label!r}; rename one of the files")
    return sources


@contextmanager
def exported(
    sources: Sequence[Source], progress: Progress, opset: int | None = None
) -> Iterator[list[Source]]:
    """Export what is neither an ONNX file nor an engine, into a folder that lasts for the block.

    Raises:
        ArtifactError, ModelError: if a model cannot be loaded or exported.
    """
    with loadable([s for s in sources if not is_engine(s)], "onnx", progress, opset) as files:
        others = iter(files)
        yield [source if is_engine(source) else next(others) for source in sources]


def is_engine(source: Source) -> bool:
    """Tell whether a source is a TensorRT engine."""
    return Path(source.path).suffix.lower() in ENGINES


def parcel(source: Source) -> Parcel:
    """Return what is to be copied of a source.

    Raises:
        UsageError: if its weights lie in a file that cannot be copied beside it.
    """
    path = Path(source.path)
    beside = () if is_engine(source) else tuple(_external(path))
    for file in beside:
        if file.parent != path.parent or not file.is_file():
            raise UsageError(
                f"the weights of {str(path)!r} are in {str(file)!r}, which is no file beside it"
            )
    digest = sha256(path)
    # Two files may be equal and the weights beside them not.
    digests = "".join([digest, *(sha256(file) for file in beside)])
    folder = digest if not beside else hashlib.sha256(digests.encode()).hexdigest()
    return Parcel(path, digest, beside, f"model-{folder}")


def inspect(job: Job) -> tuple[Loaded, dict[str, Any]]:
    """Read an ONNX file's input and metadata, and check that images of the batch size fit.

    Returns:
        What a local bench knows of a loaded model, and the input: ``name``, ``dtype``, ``shape``
        with every dimension a number, and ``dynamic``, whether the file leaves one of them open.

    Raises:
        ModelError, UsageError: as ONNX Runtime's module of a local bench.
    """
    import onnx

    model = onnx.load(job.source, load_external_data=False)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in constants]
    session = SimpleNamespace(
        get_inputs=lambda: [_input(entry) for entry in inputs],
        get_modelmeta=lambda: SimpleNamespace(
            custom_metadata_map={entry.key: entry.value for entry in model.metadata_props}
        ),
    )
    loaded = onnxruntime.inspect(session, job)
    found = _input(inputs[0])
    dtype = dict(TYPES.values())[found.type]
    size = loaded.img_size
    image = (size, size, 3) if dtype == "uint8" else (3, size, size)
    return loaded, {
        "name": found.name,
        "dtype": dtype,
        "shape": [job.batch, *image],
        "dynamic": not all(isinstance(length, int) for length in found.shape),
    }


def _input(entry: Any) -> SimpleNamespace:
    kind = entry.type.tensor_type
    shape = [
        dimension.dim_value if dimension.HasField("dim_value") else dimension.dim_param or None
        for dimension in kind.shape.dim
    ]
    name = TYPES[kind.elem_type][0] if kind.elem_type in TYPES else f"type {kind.elem_type}"
    return SimpleNamespace(name=entry.name, type=name, shape=shape)


def _engine(candidate: Candidate) -> Source:
    path = Path(candidate.reference)
    if not path.is_file():
        raise ModelError(f"engine {candidate.reference!r} does not exist")
    return engine_source(candidate)


def _external(path: Path) -> list[Path]:
    """Return the files that hold weights of an ONNX file; a large file holds its own."""
    if path.stat().st_size >= EXTERNAL_DATA_LIMIT_BYTES:
        return []
    import onnx

    names = {
        entry.value
        for tensor in onnx.load(str(path), load_external_data=False).graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return [path.parent / name for name in sorted(names)]
