"""Real engines, built by TensorRT-RTX without a GPU, and its own errors read back as ours."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import pytest
from models import SMALL, images, made_small
from onnxscript import ir

from edgeprune.engines.builders import tensorrt_rtx
from edgeprune.engines.builders.base import Found, Request
from edgeprune.engines.choose import choose
from edgeprune.engines.settings import EngineSettings
from edgeprune.errors import DiskFullError, EngineError, UsageError
from edgeprune.exporting.calibration import activation_ranges
from edgeprune.exporting.fp16 import to_half
from edgeprune.exporting.int8 import FLAVOURS, quantise_static
from edgeprune.exporting.onnx import trace, write
from edgeprune.model import DenseOptions, Model, create
from edgeprune.pruning import PruneSettings, prune

pytest.importorskip("tensorrt_rtx", reason="pip install 'edgeprune[tensorrt]'")

SIZE = 32
MODELS = ("vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "beit_base_patch16_224")


@pytest.fixture(scope="module")
def rtx() -> Found:
    return choose(EngineSettings(builder="tensorrt-rtx", sm="86")).found


def _model(name: str, extra: dict[str, int] = SMALL) -> Model:
    with made_small(extra, 1):
        return create(name, DenseOptions(num_classes=3, img_size=SIZE, pretrained=False))


def _request(path: Path, precision: str = "fp32", **changes: object) -> Request:
    fields = {
        "onnx": str(path),
        "engine": str(path.with_suffix(".engine")),
        "input": "images",
        "shape": (None, 3, SIZE, SIZE),
        "batches": (1, 1, 8),
        "precision": precision,
        "sm": "8.6",
    }
    return Request(**fields | changes)  # type: ignore[arg-type]


def _in(precision: str, base: ir.Model) -> ir.Model:
    found = base.clone()
    if precision == "fp16":
        to_half(found, set(), "fp32")
    if precision == "int8":
        ranges = activation_ranges(base, lambda: [images(SIZE, 4)], "minmax")
        quantise_static(found, ranges, FLAVOURS["tensorrt"])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("pruned", [False, True], ids=["dense", "pruned"])
@pytest.mark.parametrize("name", MODELS)
def test_every_family_builds_in_every_precision(
    rtx: Found, name: str, pruned: bool, tmp_path: Path
) -> None:
    model = _model(name)
    if pruned:
        model = prune(model, PruneSettings(ratio=0.5, metric="l1")).model
    base = trace(model)
    sizes = {}
    for precision in ("fp32", "fp16", "int8"):
        path = tmp_path / f"model.{precision}.onnx"
        write(_in(precision, base), path, {})
        request = _request(path, precision, workspace_mb=256.0)
        built = tensorrt_rtx.build(rtx, request)
        assert built.strongly_typed
        assert built.version == rtx.version
        assert built.warnings == []
        sizes[precision] = Path(request.engine).stat().st_size
    assert sizes["fp32"] > sizes["fp16"] > 0
    assert sizes["int8"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_an_older_opset_builds_too(rtx: Found, name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write(trace(_model(name), opset=13), path, {})
    built = tensorrt_rtx.build(rtx, _request(path))
    assert built.warnings == []
    assert path.with_suffix(".engine").stat().st_size > 0


def _graph(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "model.onnx"
    head = '<ir_version: 9, opset_import: ["" : 18]>\n'
    onnx.save(onnx.parser.parse_model(head + text), str(path))
    return path


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            "net (float[batch, 3, 32, 32] images) => (float[batch, 3] y) { [det] y = Det(images) }",
            r"refuses operator 'Det' \(node 'det'\) of 'model\.onnx': ",
        ),
        (
            "net (float[batch, 3, 32, 32] images) => (float[batch, 3, 32, 32] y) {"
            " half = Cast <to: int = 10> (images)\n [mixed] y = Add(images, half) }",
            r"refuses operator 'Add' \(node 'mixed'\) of .* must have same input types",
        ),
    ],
    ids=["an operator that it lacks", "mixed types"],
)
def test_the_parser_s_errors_name_operator_node_and_reason(
    rtx: Found, graph: str, message: str, tmp_path: Path
) -> None:
    request = _request(_graph(tmp_path, graph))
    with pytest.raises(EngineError, match=message) as caught:
        tensorrt_rtx.build(rtx, request)
    assert "\n" not in str(caught.value)
    assert not Path(request.engine).exists()


def test_attention_as_one_operator_is_refused_with_a_way_out(
    rtx: Found, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    # a head of 64; one of 32 is taken
    write(trace(_model(MODELS[0], {}), opset=23), path, {})
    with pytest.raises(EngineError, match="Attention operation was not supported") as caught:
        tensorrt_rtx.build(rtx, _request(path))
    assert "--opset 18 to 22" in str(caught.value.hint)
    out, err = capfd.readouterr()
    assert out + err == ""


def test_a_graph_without_its_profile_and_one_out_of_order(rtx: Found, tmp_path: Path) -> None:
    graph = _graph(
        tmp_path,
        "net (float[batch, 3, 32, 32] images) => (float[batch, 3, 1, 1] y)"
        " { y = GlobalAveragePool(images) }",
    )
    # as if it were fixed
    with pytest.raises(EngineError, match="no optimization profile has been defined"):
        tensorrt_rtx.build(rtx, _request(graph, shape=(1, 3, SIZE, SIZE)))
    with pytest.raises(EngineError, match="does not take batches of 4/1/8"):
        tensorrt_rtx.build(rtx, _request(graph, batches=(4, 1, 8)))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_says_so(rtx: Found, tmp_path: Path) -> None:
    path = _graph(tmp_path, "net (float[1] images) => (float[1] y) { y = Identity(images) }")
    with pytest.raises(DiskFullError, match="no space left on the disk while writing"):
        tensorrt_rtx.build(rtx, _request(path, shape=(1,), engine="/dev/full"))


def test_architectures(rtx: Found) -> None:
    assert "8.6" in rtx.architectures
    assert tensorrt_rtx.target(rtx, None, "8.9") == "8.9"
    with pytest.raises(UsageError, match="does not build for architecture 87; accepted: 75") as to:
        tensorrt_rtx.target(rtx, "8.7", None)
    assert "Jetson" in str(to.value.hint)
    with pytest.raises(UsageError, match=r"there is no GPU here: .* --sm and one of 75, 80, 86"):
        tensorrt_rtx.target(rtx, None, None)
    with pytest.raises(UsageError, match="keeps no timing cache"):
        choose(EngineSettings(builder="tensorrt-rtx", sm="86", timing_cache=Path("times")))
