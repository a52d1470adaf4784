"""Building an engine through TensorRT's Python API, whichever module offers it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune.engines import api
from edgeprune.engines.builders.base import Built, Found, Request
from edgeprune.errors import EngineError, UnavailableError
from edgeprune.files import explain_os_errors, output_file

ATTENTION_HINT = "--opset 18 to 22 write attention as the operators that it consists of"
TOO_LOOSE = (
    "TensorRT {version} has no strongly typed networks: it may lower what the ONNX file keeps in"
    " fp32; compare accuracies on the device"
)


def probe(trt: Any, flavour: str) -> Found:
    """Make a builder, to see that the module works here.

    Raises:
        UnavailableError: if it is too old, or makes none.
    """
    version = api.check_version(trt)
    log = api.logger(trt)
    try:
        builder = trt.Builder(log)
    except Exception as error:  # pybind11 raises TypeError where there is no driver
        raise UnavailableError(_no_builder(flavour, version, log, error)) from error
    if builder is None:
        raise UnavailableError(_no_builder(flavour, version, log, None))
    return Found(
        version=version,
        architectures=api.architectures(trt),
        timing_cache=flavour == "tensorrt",
    )


def build(trt: Any, request: Request) -> Built:
    """Build and write one engine.

    Raises:
        EngineError: if the graph is refused, or nothing comes of it.
        OutputError: if the engine cannot be written.
    """
    version = api.check_version(trt)
    log = api.logger(trt)
    builder = trt.Builder(log)
    network, strongly_typed = api.network(trt, builder)
    _parse(trt, log, network, request)
    config = _configure(trt, builder, request, strongly_typed)
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        raise _nothing_built(request, version, log)
    engine = bytes(serialised)
    path = Path(request.engine)
    with explain_os_errors(path):
        path.write_bytes(engine)
    if request.timing_cache is not None:
        with output_file(Path(request.timing_cache)) as scratch:
            scratch.write_bytes(api.timings(config))
    loose = not strongly_typed and request.precision != "fp32"
    return Built(
        version=version,
        strongly_typed=strongly_typed,
        layers=api.layers(trt, log, engine),
        warnings=[TOO_LOOSE.format(version=version)] if loose else [],
    )


def refused(name: str, version: str, found: Sequence[tuple[str, str, str]]) -> EngineError:
    """Return the error for a refused graph; ``found`` is (operator, node, reason) of each."""
    operator, node, reason = found[0]
    more = f" (and {len(found) - 1} more nodes)" if len(found) > 1 else ""
    what = f"operator {operator!r} (node {node!r})" if operator else "the file"
    return EngineError(
        f"TensorRT {version} refuses {what} of {name!r}: {reason[:300]}{more}",
        hint=ATTENTION_HINT if operator == "Attention" else None,
    )


def _no_builder(flavour: str, version: str, log: Any, error: Exception | None) -> str:
    reasons = [*api.errors(log), str(error) if error else "it made no builder"]
    return f"{flavour} {version} makes no builder: {' '.join(reasons[0].split())[:200]}"


def _parse(trt: Any, log: Any, network: Any, request: Request) -> None:
    parser = trt.OnnxParser(network, log)
    # From the file, beside which large weights are found.
    if parser.parse_from_file(request.onnx):
        return
    name, version = Path(request.onnx).name, str(trt.__version__)
    found = api.refusals(parser, lambda index: _node(request.onnx, index))
    raise refused(name, version, found or [("", "", "; ".join(api.errors(log)) or "no reason")])


def _node(onnx_file: str, index: int) -> tuple[str, str]:
    """Return operator and name of a node by its number in the file."""
    import onnx

    nodes = onnx.load(onnx_file, load_external_data=False).graph.node
    return (nodes[index].op_type, nodes[index].name) if 0 <= index < len(nodes) else ("", "")


def _configure(trt: Any, builder: Any, request: Request, strongly_typed: bool) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    api.allow_precision(trt, config, request.precision, strongly_typed)
    if request.precision == "fp32":
        api.compute_in_fp32(trt, config)
    if request.workspace_mb is not None:
        api.limit_workspace(trt, config, int(request.workspace_mb * 1e6))
    if request.sm is not None:
        api.build_for(trt, config, request.sm)
    if request.timing_cache is not None:
        path = Path(request.timing_cache)
        data = path.read_bytes() if path.exists() else b""
        api.keep_timings(trt, config, data, str(path))
    if request.shape[0] is None:
        profile = builder.create_optimization_profile()
        profile.set_shape(request.input, *request.shapes())
        # It answers -1 and raises nothing.
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(
                f"TensorRT {trt.__version__} does not take batches of"
                f" {'/'.join(map(str, request.batches))} (smallest/best/largest)"
                f" for the input {request.input!r}"
            )
    return config


def _nothing_built(request: Request, version: str, log: Any) -> EngineError:
    reasons = api.errors(log) or ["it gives no reason"]
    name = Path(request.onnx).name
    hint = None
    if any("Attention operation" in reason for reason in reasons):
        hint = ATTENTION_HINT
    elif any("memory" in reason.lower() for reason in reasons):
        hint = "a smaller --max-batch, or another --workspace, may help"
    return EngineError(
        f"TensorRT {version} builds no engine of {name!r}: {_essence(reasons[0])}", hint=hint
    )


def _essence(text: str) -> str:
    """Return an error without TensorRT's places in its own sources and its links."""
    told = text.split("CHECK(", 1)[-1].split("failed. ", 1)[-1] if "CHECK(" in text else text
    return told.split(" (See http")[0][:300].rstrip()
