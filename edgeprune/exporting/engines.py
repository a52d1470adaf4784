"""From a proved ONNX file to a TensorRT engine with a record beside it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from edgeprune.engines import timing_cache
from edgeprune.engines.builders.base import Built, Request
from edgeprune.engines.choose import Choice, choose
from edgeprune.engines.files import NAMES, SUFFIX, record_path
from edgeprune.engines.runner import open_engine
from edgeprune.engines.settings import EngineSettings
from edgeprune.environment import artifact_versions
from edgeprune.errors import UnavailableError
from edgeprune.exporting.accuracy import Answers
from edgeprune.exporting.parity import Probe, extreme_probe, judge
from edgeprune.files import explain_os_errors, sha256
from edgeprune.fused_attention import head_warnings
from edgeprune.model import Model
from edgeprune.onnx_runner import Runner
from edgeprune.progress import Progress
from edgeprune.schema import (
    BatchProfile,
    EngineFacts,
    EnginePreprocess,
    EngineRecord,
    EngineSource,
    EngineSummary,
    EngineTensor,
    ExportedFile,
    Parity,
)
from edgeprune.selection import selection_of

NEVER_FASTER = "the engine may be slower than its MACs promise"


@dataclass(frozen=True)
class Plan:
    """Which builder is used, what for, and with which limits."""

    choice: Choice
    profile: BatchProfile
    workspace_mb: float | None
    timing_cache: Path | None


def plan(settings: EngineSettings, batch: int | None, progress: Progress) -> Plan:
    """Choose a builder and say which; ``batch`` is the only one of the ONNX file, or None.

    Raises:
        UnavailableError: if no builder works here.
        UsageError: if what was asked for contradicts itself or the builder.
        OutputError: if the timing cache cannot be written.
    """
    profile = settings.profile(batch)
    choice = choose(settings)
    kept = timing_cache.place(choice, settings.timing_cache)
    target = f" for architecture {choice.sm}" if choice.sm else ""
    progress.say(
        f"engines are built by {choice.builder.NAME} {choice.found.version}{target}: {choice.why}"
    )
    return Plan(choice, profile, settings.workspace_mb, kept)


def warnings(model: Model) -> list[str]:
    """Return what is known to make engines of a model slow."""
    return [f"{text}; {NEVER_FASTER}" for text in head_warnings(model.record.widths)]


def build(
    planned: Plan,
    model: Model,
    source: Path,
    proved: ExportedFile,
    output: Path,
    probes: Sequence[Probe],
    expected: Answers | None,
    max_drop: float,
    progress: Progress,
) -> ExportedFile:
    """Build the engine of one ONNX file beside it, and compare it with PyTorch if it runs here.

    Args:
        planned: how.
        model: what was exported.
        source: the ONNX file.
        proved: what is known of it.
        output: directory that the engine will end up in.
        probes: images to compare on.
        expected: PyTorch's answers on labelled images.
        max_drop: points of accuracy that may be lost.
        progress: where to say what is being done.

    Raises:
        EngineError: if TensorRT refuses the graph, or builds nothing.
        CheckError: if the engine runs here and is too far from PyTorch.
        OutputError: if it cannot be written.
    """
    choice = planned.choice
    path = source.with_name(f"model.{proved.precision}{SUFFIX}")
    progress.say(f"building {path.name} with {choice.builder.NAME}")
    started = time.perf_counter()
    tensors = _tensors(source)
    built = choice.builder.build(choice.found, _request(planned, source, path, proved, tensors))
    record = EngineRecord(
        file=path.name,
        bytes=path.stat().st_size,
        sha256=sha256(path),
        precision=proved.precision,
        built=_facts(planned, built, time.perf_counter() - started),
        onnx=EngineSource(sha256=proved.sha256, opset=proved.opset, parity=proved.parity),
        tensors=tensors,
        **_of_model(model),
        input=proved.input,
        layout="NHWC" if proved.input == "uint8" else "NCHW",
        layers=built.layers,
        versions=artifact_versions(),
        warnings=[*warnings(model), *built.warnings],
    )
    with explain_os_errors(path):
        record_path(path).write_text(record.to_json(), encoding="utf-8")
    runner = _runner(path, progress)
    parity: Parity | None = None
    if runner is not None:
        progress.say(f"comparing {path.name} with PyTorch")
        shown = probes if proved.precision == "fp32" else [*probes, extreme_probe(model)]
        parity = judge(
            model, runner, "engine", shown, proved.precision, expected, max_drop, progress
        )
    return proved.model_copy(
        update={
            "path": str(output / path.name),
            "format": "tensorrt",
            "bytes": record.bytes,
            "sha256": record.sha256,
            "parity": parity,
            "verified": "parity" if parity else "built",
            "external": None,
            "engine": EngineSummary(
                record=str(output / record_path(path).name),
                builder=record.built.builder,
                chosen=record.built.chosen,
                tensorrt=f"{NAMES[record.built.flavour]} {record.built.tensorrt}",
                sm=record.built.sm,
                warnings=record.warnings,
            ),
        }
    )


def _runner(path: Path, progress: Progress) -> Runner | None:
    """Return the engine, loaded; None if this machine cannot run it."""
    try:
        return open_engine(path)
    except UnavailableError as error:
        progress.say(f"{path.name} is built, and not run here: {error}")
        return None


def _request(
    planned: Plan, source: Path, path: Path, proved: ExportedFile, tensors: list[EngineTensor]
) -> Request:
    profile = planned.profile
    taken = tensors[0]
    return Request(
        onnx=str(source),
        engine=str(path),
        input=taken.name,
        shape=tuple(size if isinstance(size, int) else None for size in taken.shape),
        batches=(profile.min, profile.opt, profile.max),
        precision=proved.precision,
        sm=planned.choice.sm,
        workspace_mb=planned.workspace_mb,
        timing_cache=str(planned.timing_cache) if planned.timing_cache else None,
    )


def _facts(planned: Plan, built: Built, seconds: float) -> EngineFacts:
    builder = planned.choice.builder
    return EngineFacts(
        builder=builder.NAME,
        chosen=planned.choice.why,
        flavour=builder.FLAVOUR,
        tensorrt=built.version,
        sm=built.sm or planned.choice.sm,
        profile=planned.profile,
        strongly_typed=built.strongly_typed,
        workspace_mb=planned.workspace_mb,
        timing_cache=str(planned.timing_cache) if planned.timing_cache else None,
        seconds=seconds,
    )


def _of_model(model: Model) -> dict[str, Any]:
    record = model.record
    return {
        "model": record.model,
        "family": record.family,
        "class_names": record.class_names,
        "preprocess": EnginePreprocess(
            img_size=record.img_size,
            mean=record.mean,
            std=record.std,
            interpolation=record.interpolation,
        ),
        "selection": selection_of(record.made),
        "macs": record.pruned.macs,
        "params": record.pruned.params,
        "fingerprint": record.weights_sha256 or None,
    }


def _tensors(path: Path) -> list[EngineTensor]:
    """Return the inputs and outputs of an ONNX file, the input first."""
    graph = onnx.load(str(path), load_external_data=False).graph
    return [
        EngineTensor(
            name=value.name,
            mode=mode,
            dtype=onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower(),
            shape=[dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
        )
        for mode, values in (("input", graph.input), ("output", graph.output))
        for value in values
    ]
