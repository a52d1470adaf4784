"""From what a person names to what a measuring process loads."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from edgeprune.engines.files import SUFFIX, read_record
from edgeprune.errors import ArtifactError, ModelError, UsageError
from edgeprune.progress import SILENT, Progress

if TYPE_CHECKING:
    from edgeprune.model import DenseOptions, Model

# Weights that are stored beside an ONNX file leave a small file; only those are worth parsing.
EXTERNAL_DATA_LIMIT_BYTES = 32_000_000


@dataclass(frozen=True)
class Candidate:
    """Something to measure: a timm name, an artifact directory, an ONNX file or an engine.

    ``dense`` says how a timm model is made; by default with random weights, since its speed
    does not depend on them. ``label`` is the name in the result, by default the directory's,
    the file's without its suffix, or timm's.
    """

    reference: str
    dense: DenseOptions | None = None
    label: str | None = None


@dataclass(frozen=True)
class Source:
    """A candidate that was found: ``path`` is what the runtime loads."""

    label: str
    path: str
    artifact: str | None = None
    file: str | None = None
    dense: dict[str, Any] | None = None
    weights_bytes: int | None = None


def find(candidates: Sequence[Candidate], runtime_format: str, runtime: str) -> list[Source]:
    """Check that every candidate exists and suits the runtime, and give each its own label.

    Raises:
        ArtifactError: if a directory is no sound artifact.
        ModelError: if a name is unknown, or a file is missing or damaged.
        EngineError: if an engine is not sound.
        UsageError: if two candidates are the same, or a file is not one for the runtime.
    """
    sources = [_find(candidate, runtime_format, runtime) for candidate in candidates]
    identities = [_identity(candidate) for candidate in candidates]
    for index, candidate in enumerate(candidates):
        if identities[index] in identities[:index]:
            raise UsageError(
                f"{candidate.reference!r} is named twice; a model is measured once per run"
            )
    labels = Counter(source.label for source in sources)
    return [
        source
        if labels[source.label] == 1
        else dataclasses.replace(source, label=f"{source.label} ({candidate.reference})")
        for source, candidate in zip(sources, candidates, strict=True)
    ]


@contextmanager
def loadable(
    sources: Sequence[Source],
    runtime_format: str,
    progress: Progress = SILENT,
    opset: int | None = None,
) -> Iterator[list[Source]]:
    """Export what the runtime needs as ONNX into a scratch directory that lasts for the block.

    ``opset`` None is the exporter's own.

    Raises:
        ArtifactError, ModelError: if a model cannot be loaded or exported.
    """
    with TemporaryDirectory(prefix="edgeprune-bench-") as scratch:
        yield [
            _export(source, Path(scratch) / f"{index}.onnx", progress, opset)
            if runtime_format == "onnx" and source.file is None
            else source
            for index, source in enumerate(sources)
        ]


def weights_bytes(path: Path) -> int:
    """Return the size of an ONNX file, with the weights that it keeps in other files.

    Raises:
        ModelError: if it is no ONNX file.
    """
    size = path.stat().st_size
    if size >= EXTERNAL_DATA_LIMIT_BYTES:
        return size
    import onnx

    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception as error:  # protobuf's, which is nobody's dependency here
        raise ModelError(f"{str(path)!r} is not a readable ONNX file") from error
    return size + sum(
        int(entry.value)
        for tensor in graph.initializer
        for entry in tensor.external_data
        if entry.key == "length"
    )


def is_timm_name(reference: str) -> bool:
    """Tell whether a reference can only be the name of a timm model: it leads to no file."""
    path = Path(reference)
    return (
        path.suffix.lower() not in (".onnx", SUFFIX) and "/" not in reference and not path.exists()
    )


def _identity(candidate: Candidate) -> Candidate:
    path = Path(candidate.reference)
    reference = str(path.resolve()) if path.exists() else candidate.reference
    return dataclasses.replace(candidate, reference=reference, label=None)


def _find(candidate: Candidate, runtime_format: str, runtime: str) -> Source:
    reference, path = candidate.reference, Path(candidate.reference)
    if path.suffix.lower() == SUFFIX:
        return _engine(candidate, runtime_format, runtime)
    if runtime_format == "engine":
        raise UsageError(
            f"runtime {runtime!r} measures engine files; {reference!r} is none",
            hint="edgeprune export --tensorrt builds one",
        )
    if path.suffix.lower() == ".onnx":
        if runtime_format != "onnx":
            raise UsageError(
                f"runtime {runtime!r} cannot load the ONNX file {reference!r};"
                " an artifact directory or a timm model name was expected",
                hint="--runtime onnxruntime measures ONNX files",
            )
        if not path.is_file():
            raise ModelError(f"ONNX file {reference!r} does not exist")
        return Source(
            label=candidate.label or path.stem,
            path=str(path.absolute()),
            file=reference,
            weights_bytes=weights_bytes(path),
        )
    if path.is_dir():
        from edgeprune.artifact import read_record

        read_record(path)
        label = candidate.label or path.resolve().name
        return Source(label=label, path=str(path.absolute()), artifact=reference)
    return _dense(candidate)


def _engine(candidate: Candidate, runtime_format: str, runtime: str) -> Source:
    reference, path = candidate.reference, Path(candidate.reference)
    if runtime_format != "engine":
        raise UsageError(
            f"runtime {runtime!r} cannot load the engine {reference!r}",
            hint="--runtime tensorrt or trtexec measures engines",
        )
    read_record(path)
    return engine_source(candidate)


def engine_source(candidate: Candidate) -> Source:
    """Return an engine file as a source."""
    path = Path(candidate.reference)
    return Source(
        label=candidate.label or path.stem,
        path=str(path.absolute()),
        file=candidate.reference,
        weights_bytes=path.stat().st_size,
    )


def _dense(candidate: Candidate) -> Source:
    reference = candidate.reference
    if Path(reference).is_file():
        raise ModelError(
            f"{reference!r} is neither an .onnx file, an artifact directory nor a timm model"
        )
    if "/" in reference:
        raise ArtifactError(f"{reference!r} does not exist")
    from edgeprune.model import DenseOptions, check_name

    check_name(reference)
    options = dataclasses.asdict(candidate.dense or DenseOptions(pretrained=False))
    if options["weights"] is not None:
        options["weights"] = str(Path(options["weights"]).absolute())
    return Source(label=candidate.label or reference, path=reference, dense=options)


def load(source: Source) -> Model:
    """Load the model of a source that is no ONNX file.

    Raises:
        ArtifactError, ModelError: if it cannot be loaded.
    """
    from edgeprune.loading import load_model
    from edgeprune.model import DenseOptions

    if source.dense is None:
        return load_model(source.path)
    weights = source.dense["weights"]
    options = {**source.dense, "weights": Path(weights) if weights else None}
    return load_model(source.path, DenseOptions(**options))


def _export(source: Source, path: Path, progress: Progress, opset: int | None) -> Source:
    from edgeprune.exporting.onnx import DEFAULT_OPSET, export_onnx
    from edgeprune.model import random_model

    progress.say(f"exporting {source.label} to ONNX")
    model, dense = load(source), source.dense
    if dense is not None and not dense["pretrained"] and dense["weights"] is None:
        model = random_model(model.record)
    export_onnx(model, path, opset=opset or DEFAULT_OPSET)
    return dataclasses.replace(source, path=str(path), weights_bytes=weights_bytes(path))
