from __future__ import annotations

import json
from pathlib import Path

import pytest
from models import made_small
from toy_domains import MODEL, SIZE, write_toy_domains

from edgeprune.cli import main
from edgeprune.engines.files import read_record
from edgeprune.files import sha256

DENSE = ["--no-pretrained", "--num-classes", "3", "--img-size", str(SIZE)]
INT8 = ["--tensorrt", "--precision", "int8", "--data", "{root}", "--target", "night"]

DYNAMIC = ["--onnx", "--precision", "int8", "--data", "{root}", "--int8", "dynamic"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_domains(tmp_path_factory.mktemp("data") / "halves")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "export needs a format: --onnx or --tensorrt"),
        (["--onnx", "--precision", "int8"], 2, "int8 needs images to be calibrated on"),
        (["--onnx", "--precision", "int4"], 2, "unknown precision 'int4'"),
        (["--onnx", "--opset", "12"], 2, "opset 12 is not accepted; 13 to 23 are"),
        (["--onnx", "--opset", "13", "--precision", "fp16"], 2, "precision 'fp16' is not accepted"),
        (["--onnx", "--opset", "17", "--optimize"], 2, "--optimize is not accepted with it"),
        (["--onnx", "--batch", "none"], 2, "'dynamic' or a number above 0 is"),
        (["--onnx", "--batch", "²"], 2, "'dynamic' or a number above 0 is"),
        (["--onnx", "--io", "fp16"], 2, "need --precision fp16"),
        (["--onnx", "--int8", "static"], 2, "--int8 is about int8 files; it needs --precision"),
        (["--onnx", "--for", "cpu"], 2, "--for is about int8 files; it needs --precision int8"),
        (["--onnx", "--target", "night"], 2, "--target is about images to judge by; it needs --d"),
        ([*DYNAMIC, "--calibration", "entropy"], 2, "--int8 dynamic has none"),
        (["--onnx", "--precision", "int8", "--data", "{root}"], 2, "accepted: day, dusk, night"),
        (["--onnx", "--precision", "fp16", "--optimize"], 2, "casts to fp32"),
        (["--tensorrt", "--builder", "trt"], 2, "unknown builder 'trt'; accepted: tensorrt, "),
        (["--tensorrt", "--builder", "trtexec"], 3, "'trtexec' is not available here: TRTEXEC="),
        (["--onnx", "--sm", "87"], 2, "--sm is about engines; it needs --tensorrt"),
        (["--tensorrt", "--sm", "orin"], 2, "architecture 'orin' is not accepted"),
        (["--tensorrt", "--opset", "23"], 2, "which TensorRT refuses"),
        (["--tensorrt", "--optimize"], 2, "cannot read operators of ONNX Runtime"),
        (["--tensorrt", "--batch", "2", "--max-batch", "4"], 2, "--batch 2 fixes the batch size"),
        (["--tensorrt", "--max-batch", "0"], 2, "max-batch 0 is not accepted; 1 and more"),
        (["--tensorrt", "--workspace", "-1"], 2, "workspace -1 is not accepted"),
        ([*INT8, "--for", "cpu"], 2, "TensorRT refuses int8 that is made for 'cpu'"),
        ([*INT8, "--int8", "dynamic"], 2, "TensorRT needs static int8"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.setenv("TRTEXEC", "/nowhere/trtexec")
    given = [option.format(root=root) for option in options]
    with made_small({}, 1):
        found = main(["export", MODEL, *DENSE, "-o", str(tmp_path / "out"), *given])
    assert found == code
    captured = capsys.readouterr()
    assert captured.out == ""
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert list(tmp_path.iterdir()) == []


def test_json_and_table_tell_of_every_file(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(root), "--target", "night", "--samples", "9", "--max-drop", "100"]
    precisions = ["--precision", "fp16", "--precision", "int8", "--int8", "dynamic"]
    command = ["export", MODEL, *DENSE, "--onnx", *options, *precisions]
    with made_small({}, 1):
        assert main([*command, "-o", str(tmp_path / "json"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "edgeprune/export@1"
    fp16, int8 = found["files"]
    assert (fp16["precision"], int8["precision"]) == ("fp16", "int8")
    assert int8["int8"]["mode"] == "dynamic"
    assert set(int8["parity"]["domains"]) == {"day", "dusk", "night"}
    assert int8["parity"]["domains"]["night"]["n"] == 30


def test_engines_come_with_their_records(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install 'edgeprune[tensorrt]'")
    options = ["--data", str(root), "--target", "night", "--samples", "9", "--max-drop", "100"]
    built = ["--tensorrt", "--builder", "tensorrt-rtx", "--sm", "86", "--max-batch", "4"]
    command = ["export", MODEL, *DENSE, *options, *built, "--precision", "int8"]
    output = tmp_path / "out"
    with made_small({"embed_dim": 96, "num_heads": 4}, 1):
        assert main([*command, "-o", str(output), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # the ONNX file was made and proved, and not kept
    assert sorted(path.name for path in output.iterdir()) == [
        "model.int8.engine",
        "model.int8.engine.json",
    ]
    (file,) = found["files"]
    assert file["path"] == str(output / "model.int8.engine")
    assert (file["format"], file["precision"]) == ("tensorrt", "int8")
    assert (file["parity"], file["verified"]) == (None, "built")
    assert file["int8"]["runtime"] == "tensorrt"
    assert file["sha256"] == sha256(output / "model.int8.engine")
    record = read_record(output / "model.int8.engine")
    assert record.built.builder == file["engine"]["builder"] == "tensorrt-rtx"
    assert record.built.sm == file["engine"]["sm"] == "8.6"
    assert record.built.chosen == "asked for"
    assert record.built.profile.model_dump() == {"min": 1, "opt": 1, "max": 4}
    assert record.onnx.parity is not None
    assert record.onnx.parity.target == "night"
    assert [tensor.shape for tensor in record.tensors] == [["batch", 3, SIZE, SIZE], ["batch", 3]]
    assert record.preprocess.img_size == SIZE
    # 24 dims a head are a multiple of 8
    assert found["warnings"] == record.warnings == []


def test_head_sizes_that_slow_engines_down_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install 'edgeprune[tensorrt]'")
    built = ["--tensorrt", "--onnx", "--builder", "tensorrt-rtx", "--sm", "sm_86", "--batch", "2"]
    output = tmp_path / "out"
    with made_small({"embed_dim": 80, "num_heads": 4}, 1):
        assert main(["export", MODEL, *DENSE, *built, "-o", str(output)]) == 0
    assert {path.name for path in output.iterdir()} == {
        "model.onnx",
        "model.fp32.engine",
        "model.fp32.engine.json",
    }
    record = read_record(output / "model.fp32.engine")
    (warning,) = record.warnings
    assert warning.startswith("head sizes 20 are outside what TensorRT's fused attention takes")
    shown = " ".join(capsys.readouterr().out.split())
    assert f"warning: {warning}" in shown
    assert "model.fp32.engine: TensorRT-RTX" in shown
    assert "built, not run here" in shown
    assert f"written to {output}" in shown
    assert record.onnx.sha256 == sha256(output / "model.onnx")
    assert record.tensors[0].shape[0] == 2
    assert record.built.profile.model_dump() == {"min": 2, "opt": 2, "max": 2}
