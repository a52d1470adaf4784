from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx.parser
import psutil
import pytest

from edgeprune.cli import main

NET = """
<ir_version: 9, opset_import: ["" : 18]>
net (float[batch, 3, 8, 8] images) => (float[batch, 3, 1, 1] logits) {
    logits = GlobalAveragePool(images)
}
"""


SUSTAINED = ["{net}", "--scenario", "sustained", "--duration", "3"]


@pytest.fixture
def net(tmp_path: Path) -> str:
    onnx.save(onnx.parser.parse_model(NET), str(tmp_path / "net.onnx"))
    return str(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{net}", "--runtime", "torch"], 2, "cannot load the ONNX file"),
        (["{net}", "--runtime", "tensorrt"], 2, "measures engine files"),
        (["none.engine"], 2, "cannot load the engine 'none.engine'"),
        (["none.engine", "--runtime", "tensorrt"], 2, "'none.engine' does not exist"),
        (["{net}", "--runtime", "onyx"], 2, "accepted: onnxruntime, onnxruntime-tensorrt, "),
        (["{net}", "--device", "gpu"], 2, "unknown device 'gpu'; accepted: cpu, cuda, "),
        (["{net}", "--device", "jetson-orin-nano"], 3, "no such device here"),
        (["{net}", "--device", "amd-epyc-1-core"], 3, "no such device here: 'amd-epyc-1-core'"),
        (["{net}", "--device", "{tmp}/absent.toml"], 2, "absent.toml' cannot be read"),
        (["{net}", "--device", "{tmp}/b.toml", "--host", "h"], 2, "b.toml' cannot be read"),
        (
            ["{net}", "--precision", "int4"],
            2,
            "unknown precision 'int4'; accepted: fp32, fp16, int8",
        ),
        (["{net}", "--precision", "int8"], 2, "precision 'int8' was asked for, 'net' is in fp32"),
        (["vit_tiny_patch16_224", "--precision", "fp16"], 2, "is measured in fp32"),
        (["{net}", "--min-time", "0"], 2, "min-time 0 is not accepted"),
        (["{net}", "--min-time", "nan"], 2, "min-time nan is not accepted"),
        (["{net}", "--max-time", "1"], 2, "max-time 1 is not accepted; seconds from min-time (3)"),
        (["{net}", "--precision-target", "1"], 2, "precision-target '1' is not accepted; percent"),
        (["{net}", "--scenario", "paced"], 2, "--scenario paced needs --period"),
        (["{net}", "--scenario", "loud"], 2, "unknown scenario 'loud'; accepted: latency, paced"),
        (["{net}", "--host", "b", "--period", "33"], 2, "--period is for what is measured here"),
        (["{net}", "--host", "b", "--scenario", "paced"], 2, "the scenario 'latency' alone"),
        (["{net}", "--ssh-config", "x"], 2, "are for --host"),
        (["e.engine", "--runtime", "tensorrt", "--precision", "fp16"], 2, "no --precision"),
        (["{net}", "--estimate", "--images", "{tmp}"], 2, "--images is for measurements"),
        (["{net}", "--estimate", "--min-time", "7"], 2, "--min-time is for measurements"),
        (["{net}", "--estimate", "--precision-target", "none"], 2, "--precision-target is for"),
        (["{net}", "--img-size", "99"], 2, "--img-size 99 is for dense timm models; it needs the"),
        (["{net}", "--weights", "none"], 2, "--weights none is for dense timm models"),
        (["{tmp}/empty", "--num-classes", "3"], 2, "--num-classes 3 is for dense timm models"),
        (["{net}", "--pretrained"], 2, "--pretrained is for dense timm models"),
        ([*SUSTAINED, "--min-time", "1"], 2, "--min-time 1.0 is not for --scenario sustained"),
        ([*SUSTAINED, "--max-time", "9"], 2, "--max-time 9.0 is not for --scenario sustained"),
        (
            [*SUSTAINED, "--precision-target", "2%"],
            2,
            "--precision-target 2% is not for --scenario",
        ),
        (["{net}", "--images", "{tmp}/empty"], 2, "holds no image"),
        (["{net}", "--runtime", "onnxruntime-tensorrt"], 2, "does not run on 'cpu'; accepted"),
        (["{net}", "--batch", "0"], 2, "batch 0 is not accepted; 1 and more"),
        (["{net}", "--threads", "0"], 2, "threads 0 is not accepted"),
        (["{net}", "--threads", "1000000"], 2, "threads 1000000 is not accepted; 1 to "),
        (["{net}", "--scenario", "paced", "--period", "1e9"], 2, "period of 1e+09 ms is not"),
        (["{net}", "--scenario", "paced", "--period", "1e-6"], 2, "period of 1e-06 ms is not"),
        (["{net}", "--baseline", "{net}"], 2, "both the model and its baseline"),
        (["{net}", "--baseline", "none.onnx"], 2, "'none.onnx' does not exist"),
        (["{tmp}/broken.onnx"], 2, "broken.onnx' is not a readable ONNX file"),
        (["{tmp}/empty"], 2, "edgeprune.json"),
        (["vit_tny_patch16_224"], 2, "unknown model 'vit_tny_patch16_224'"),
        (["{net}", "-o", "{tmp}/empty"], 2, "is a directory; a file was expected"),
        (["{net}", "-o", "{net}/x.json"], 2, "is not a directory"),
        ([], 2, "MODEL_OR_FILE"),
    ],
)
def test_bad_input_is_one_line(
    net: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\xffno protobuf at all")
    (tmp_path / "empty").mkdir()
    filled = [word.format(net=net, tmp=tmp_path) for word in arguments]
    assert main(["bench", *filled]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) <= 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["{net}", "-o", "{net}"],
        ["other.onnx", "--baseline", "{net}", "-o", "{net}"],
        ["vit_tiny_patch16_224", "--weights", "{net}", "-o", "{net}"],
        ["{tmp}/model.engine", "-o", "{tmp}/model.engine.json"],
        ["{tmp}/half", "-o", "{tmp}/half/edgeprune.json"],
    ],
)
def test_the_output_never_replaces_an_input(
    net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    (tmp_path / "half").mkdir()
    for name in ("model.engine.json", "half/edgeprune.json"):
        (tmp_path / name).write_text("{}")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    filled = [word.format(net=net, tmp=tmp_path) for word in arguments]
    assert main(["bench", *filled]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        f"error: output {filled[-1]!r} is an input of the same command;" + " name another file\n",
    )
    assert {path: path.read_bytes() for path in files} == before


def test_a_table_of_two_precisions_names_them_row_by_row(
    net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(net)
    onnx.helper.set_model_props(model, {"edgeprune.precision": "int8"})
    onnx.save(model, str(tmp_path / "small.onnx"))
    quick = ["--min-time", "0.1", "--precision-target", "none", "--threads", "1"]
    assert main(["bench", net, str(tmp_path / "small.onnx"), *quick]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "onnxruntime, cpu, 1 thread"
    rows = [line.split()[:3] for line in lines if line.split()[:1] in (["net"], ["small"])]
    assert rows == [["net", "fp32", "1"], ["small", "int8", "1"]]
    assert main(["bench", net, *quick]) == 0
    assert capsys.readouterr().out.startswith("onnxruntime, cpu, fp32, 1 thread")


QUICK = ["--min-time", "0.05", "--precision-target", "none", "--threads", "1"]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["v1[bold].onnx"], "v1[bold]"),
        (["two\nlines.onnx"], "two lines"),
        # Models of one name are told apart by their paths.
        (["m[/x].onnx", "n/x].onnx"], "m[/x].onnx"),
    ],
    ids=["tag", "newline", "closing tag"],
)
def test_brackets_in_a_name_are_no_markup(
    net: str, tmp_path: Path, names: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(Path(net).read_bytes())
    assert main(["bench", *map(str, paths), *QUICK]) == 0
    out, err = capsys.readouterr()
    # Long names are folded.
    assert "".join(shown.split()) in "".join(out.split())
    assert all(line.startswith("warning: ") for line in err.splitlines())


def test_json_goes_to_stdout_and_to_the_file(
    net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "deep" / "bench.json"
    sizes = ["--batch", "1", "--batch", "2"]
    quick = ["--min-time", "0.05", "--threads", "1"]
    code = main(["bench", net, *quick, *sizes, "--json", "-o", str(output)])
    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document == json.loads(output.read_text())
    assert document["schema"] == "edgeprune/bench@1"
    assert [row["batch"] for row in document["measurements"]] == [1, 2]
    assert document["environment"]["threads"] == 1


def test_the_table_shows_macs_and_time_side_by_side(
    net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(net)
    for name, macs in (("dense", "4000000"), ("half", "1000000")):
        onnx.helper.set_model_props(model, {"edgeprune.macs": macs})
        onnx.save(model, str(tmp_path / f"{name}.onnx"))
    half, dense = str(tmp_path / "half.onnx"), str(tmp_path / "dense.onnx")
    assert main(["bench", half, "--baseline", dense, "--min-time", "0.05", "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (at,) = [index for index, line in enumerate(lines) if line.startswith(" half")]
    assert "1 M" in lines[at]
    assert "4.00x" in lines[at]
    assert lines[at].rstrip().endswith("x")
    assert lines[at + 1].strip().startswith("[")


def test_a_timm_model_is_exported_first(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["vit_tiny_patch16_224", "--img-size", "32", "--num-classes", "3"]
    assert main(["bench", *arguments, "--min-time", "0.05", "--threads", "1", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["measurements"]
    assert row["model"] == "vit_tiny_patch16_224"
    assert row["macs"] > 0
    assert row["memory_mb"]["weights"] == pytest.approx(4 * row["params"] / 1e6, rel=0.1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_no_process_and_no_file(
    net: str, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    output = tmp_path / "out" / "bench.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeprune", "bench", net, "--min-time", "60", "-o", str(output)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    deadline = time.monotonic() + 60
    children: list[psutil.Process] = []
    while time.monotonic() < deadline:
        children = psutil.Process(process.pid).children(recursive=True)
        if children and children[0].cpu_times().user > 1.0:
            break
        time.sleep(0.05)
    assert children
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in out + err
    assert not psutil.wait_procs(children, timeout=5)[1]
    assert not output.exists()
    assert list(scratch.glob("*edgeprune*")) == []
