from __future__ import annotations

import json
from pathlib import Path

import pytest
from models import made_small
from toy_domains import MODEL, SIZE, write_toy_domains

from edgeprune.cli import main

DENSE = ["--no-pretrained", "--num-classes", "3", "--img-size", str(SIZE)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_domains(tmp_path_factory.mktemp("data") / "halves")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "export needs a format: --onnx"),
        (["--onnx", "--precision", "int8"], 2, "int8 needs images to be calibrated on"),
        (["--onnx", "--precision", "int4"], 2, "unknown precision 'int4'"),
        (["--onnx", "--opset", "12"], 2, "opset 12 is not accepted; 18 to 23 are"),
        (["--onnx", "--batch", "none"], 2, "'dynamic' or a number above 0 is"),
        (["--onnx", "--io", "fp16"], 2, "need --precision fp16"),
        (["--onnx", "--precision", "int8", "--data", "{root}"], 2, "accepted: day, dusk, night"),
        (["--onnx", "--precision", "fp16", "--optimize"], 2, "casts to fp32"),
        (["--tensorrt"], 3, "not part of this version"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    message: str,
) -> None:
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
