"""What each layer of a measured model takes: attribution, the result, the command."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from onnx_files import write_mlp
from small_exports import small_model

from edgeprune.benchmarking import bench, energy, harness
from edgeprune.benchmarking.layers import operator_layers, read_layers
from edgeprune.benchmarking.ort_profile import read_operators
from edgeprune.benchmarking.runtimes.base import Job, Loaded, Operator, Profile
from edgeprune.benchmarking.workers import RecordedWorker
from edgeprune.cli import main
from edgeprune.errors import UsageError
from edgeprune.exporting.onnx import export_onnx
from edgeprune.pruning import PruneSettings, prune
from edgeprune.schema import BenchResult, PerLayer

DEPTH = 3
MS = 1_000_000


def _node(kind: str, name: str, inputs: str, output: str, scopes: list[str] | None = None) -> Any:
    node = helper.make_node(kind, inputs.split(), [output], name=name)
    if scopes is not None:
        entry = node.metadata_props.add()
        entry.key, entry.value = "pkg.torch.onnx.name_scopes", str(scopes)
    return node


def _write(path: Path, nodes: list[Any], **weights: tuple[int, ...]) -> Path:
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 2, 2])
    result = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    stored = [
        helper.make_tensor(
            name.replace("__", "."), TensorProto.FLOAT, shape, [1.0] * math.prod(shape)
        )
        for name, shape in weights.items()
    ]
    graph = helper.make_graph(nodes, "net", [image], [result], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), str(path))
    return path


def _scope(*modules: str) -> list[str]:
    return ["", *modules, "op"]


def test_nodes_belong_to_the_modules_that_the_exporter_noted(tmp_path: Path) -> None:
    attention = _scope("blocks", "blocks.0", "blocks.0.attn")
    nodes = [
        _node("Conv", "patch", "images kernel", "a", _scope("patch_embed", "patch_embed.proj")),
        _node("Add", "position", "a table", "b", _scope()),
        _node("Mul", "norm", "b scale", "c", _scope("blocks", "blocks.0", "blocks.0.norm1")),
        _node("Identity", "view", "c", "d", ["view_1"]),  # without modules: by its reader
        _node("Mul", "qkv", "d weight", "e", attention),
        _node("Mul", "proj", "e half", "f", [*attention[:-1], "blocks.0.attn.proj", "op"]),
        _node("Add", "residual", "f b", "g", _scope("blocks", "blocks.0")),
        _node("Mul", "logits", "g scale", "h", _scope("head")),
    ]
    weights = {
        "kernel": (4, 3, 2, 2),
        "table": (4, 1, 1),
        "scale": (4, 1, 1),
        "weight": (2, 4, 1, 1),
    }
    path = _write(tmp_path / "net.onnx", nodes, **weights, half=())
    found = read_layers(path)
    assert found.of_node == {
        "patch": "embedding",
        "position": "embedding",
        "norm": "blocks.0",
        "view": "blocks.0.attn",
        "qkv": "blocks.0.attn",
        "proj": "blocks.0.attn",
        "residual": "blocks.0",
        "logits": "head",
    }
    # a scalar is no parameter; what two layers read counts for both
    assert found.parameter_bytes == {
        "embedding": 4 * (48 + 4),
        "blocks.0": 4 * 4,
        "blocks.0.attn": 4 * 8,
        "head": 4 * 4,
    }


def test_other_files_tell_it_by_names_of_nodes_or_weights(tmp_path: Path) -> None:
    nodes = [
        _node("Add", "/Add", "images w", "a"),
        _node("Add", "/blocks/blocks.0/attn/Add", "a w", "b"),
        _node("Add", "/blocks/blocks.0/attn/qkv/Add", "b w", "c"),
        _node("Mul", "Mul_7", "c blocks.1.mlp.fc.weight", "d"),
        _node("Mul", "Mul_8/SomeFusion/", "d w", "e"),
        _node("Mul", "Mul_9", "e blocks.9.tied", "f", ["not", "a network's"]),
        _node("Add", "Add_10", "f blocks.9.tied", "g"),
        _node("Add", "", "g d", "h"),
        _node("Add", "/head/Add", "h w", "i"),
        _node("Add", "/head/Last", "i d", "j"),
    ]
    nodes[5].metadata_props[0].value = "[no list"
    weights = {"w": (2,), "blocks__1__mlp__fc__weight": (2, 2), "blocks__9__tied": (2,)}
    found = read_layers(_write(tmp_path / "net.onnx", nodes, **weights))
    assert found.of_node == {
        "/Add": "embedding",
        "/blocks/blocks.0/attn/Add": "blocks.0.attn",
        "/blocks/blocks.0/attn/qkv/Add": "blocks.0.attn",
        "Mul_7": "blocks.1.mlp",
        "Mul_8/SomeFusion/": "head",  # as all that reads what it writes
        "Mul_9": "head",
        "Add_10": "head",
        "/head/Add": "head",
        "/head/Last": "head",
    }
    assert found.parameter_bytes["head"] == 8 + 8


def test_what_the_runtime_renamed_belongs_to_what_runs_around_it() -> None:
    of_node = {"a": "one", "b": "one", "c": "two", "/x/y": "two"}
    names = ["conv_nchwc", "a", "Gelu", "b/MatMulScaleFusion/", "Cast", "c", "/x/y/Fused//", "Out"]
    assert operator_layers(names, of_node) == ["one"] * 4 + ["other"] + ["two"] * 3
    assert operator_layers(["Gelu"], {}) == ["other"]


def _event(
    name: str, ts: int, dur: int, category: str = "Node", **arguments: str
) -> dict[str, Any]:
    facts = {"op_name": name, "output_size": "8", "node_index": "0", **arguments}
    return {"cat": category, "name": name, "ts": ts, "dur": dur, "args": facts}


def test_an_operator_takes_the_mean_of_the_faster_half_of_its_runs() -> None:
    events = []
    for start, gemm in ((100, 900), (2000, 10), (4000, 14), (6000, 700)):
        events += [
            _event("model_run", start, 2 * gemm, "Session"),
            _event("g_kernel_time", start + 1, gemm, op_name="Gemm"),
            _event("g_fence_before", start + 1, 999),
            *(_event("loop_kernel_time", start + 2, 5, node_index="1") for _ in range(2)),
            _event("view_kernel_time", start + 3, 2, op_name="Reshape", node_index="2"),
            _event("copy_kernel_time", start + 4, 4, op_name="Reshape", node_index="3"),
        ]
    profile = read_operators(events, skip=1)
    gemm, loop, view, copy = profile.operators
    assert (gemm.name, gemm.kind, gemm.written_bytes) == ("g", "Gemm", 8)
    # The cheapest view tells what noting costs. Of 10, 14 and 700 the faster half is 12.
    assert profile.noting_ms == pytest.approx(0.0025)
    assert gemm.ms == pytest.approx(0.010)
    assert (loop.ms, loop.written_bytes) == (pytest.approx(0.006), 16)
    assert (view.ms, copy.ms) == (0.0, pytest.approx(0.002))
    assert (profile.calls, profile.call_ms) == (3, pytest.approx(0.024))
    with pytest.raises(ValueError, match="4 calls"):
        read_operators(events, skip=4)


def test_without_a_view_nothing_is_taken_off() -> None:
    events = [_event("model_run", 1, 9, "Session"), _event("g_kernel_time", 2, 7, op_name="Gemm")]
    profile = read_operators(events, skip=0)
    assert (profile.noting_ms, profile.operators[0].ms) == (None, pytest.approx(0.0075))


def test_a_call_is_shared_out_by_time_and_nothing_is_profiled_before_all_is_measured(
    tmp_path: Path,
) -> None:
    nodes = [
        _node("Add", "first", "images blocks.0.a", "x", _scope("blocks", "blocks.0")),
        _node("Add", "last", "x blocks.0.a", "y", _scope("blocks", "blocks.1")),
    ]
    path = _write(tmp_path / "net.onnx", nodes, blocks__0__a=(2,))
    operators = [Operator("first", "Add", 0.3, 48), Operator("last", "Add", 0.1, 16)]
    workers: list[RecordedWorker] = []

    def play(job: Job) -> RecordedWorker:
        workers.append(
            RecordedWorker([[8 * MS] * 9], Loaded(8, "fp32"), profile=Profile(operators, 5, 0.9))
        )
        return workers[-1]

    result = bench([path], threads=1, batches=(1, 2), per_layer=True, start=play)
    found = result.measurements[0].per_layer
    assert found is not None
    assert (found.calls, found.profiled_call_ms, found.operators_ms) == (5, 0.9, 0.4)
    assert [(layer.name, layer.operators) for layer in found.layers] == [
        ("blocks.0", 1),
        ("blocks.1", 1),
    ]
    first, last = found.layers
    assert (first.share, first.latency_ms) == (pytest.approx(0.75), pytest.approx(6.0))
    assert last.latency_ms == pytest.approx(2.0)
    assert (first.activation_bytes, first.parameter_bytes) == (48, 8)
    assert first.energy_by_time_mj is None
    assert [worker.calls for worker in workers[2:]] == [["start", "profile", "end"]] * 2
    assert BenchResult.model_validate_json(result.to_json()) == result
    assert bench([path], threads=1, start=play).measurements[0].per_layer is None


def test_energy_is_shared_out_by_time_where_it_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = tmp_path / "sys/class/powercap/intel-rapl:0"
    counter.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("energy_uj", "0"), ("max_energy_range_uj", "99999")):
        (counter / name).write_text(f"{text}\n")
    monkeypatch.setattr(harness, "metered", lambda device, root: energy.metered(device, tmp_path))
    path = _write(
        tmp_path / "net.onnx", [_node("Add", "a", "images b.w", "x", _scope("b"))], b__w=(2,)
    )
    operators = [Operator("a", "Add", 0.3, 48), Operator("new", "Cast", 0.1, 16)]
    worker = RecordedWorker(
        [[8 * MS] * 10], energy=([0], [40_000]), profile=Profile(operators, 5, 0.9)
    )
    (row,) = bench([path], threads=1, per_layer=True, start=lambda job: worker).measurements
    assert row.energy_mj == pytest.approx(4.0)
    assert row.per_layer is not None
    assert [layer.energy_by_time_mj for layer in row.per_layer.layers] == [pytest.approx(4.0)]


def _command(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "edgeprune", "bench", *arguments, "--per-layer", "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_command_tells_the_layers_of_a_pruned_model(tmp_path: Path) -> None:
    model = prune(small_model(depth=DEPTH), PruneSettings(ratio=0.5, metric="l1")).model
    path = tmp_path / "pruned.onnx"
    export_onnx(model, path)
    quick = ("--threads", "1", "--min-time", "0.2", "--precision-target", "none")
    document = _command(str(path), *quick, "--batch", "1", "--batch", "2")
    sizes = {name: 4 * value.numel() for name, value in model.module.named_parameters()}
    blocks = [f"blocks.{block}" for block in range(DEPTH)]
    expected = {
        "embedding": _total(sizes, "patch_embed", "cls_token", "pos_embed"),
        **{
            f"{block}.{part}": _total(sizes, f"{block}.{part}")
            for block in blocks
            for part in ("attn", "mlp")
        },
        **{block: _total(sizes, f"{block}.norm") for block in blocks},
        "head": _total(sizes, "norm", "head"),
    }
    assert sum(expected.values()) == sum(sizes.values())
    for row in document["measurements"]:
        found = PerLayer.model_validate(row["per_layer"])
        layers = {layer.name: layer for layer in found.layers if layer.name != "other"}
        assert {name: layer.parameter_bytes for name, layer in layers.items()} == expected
        names = list(layers)
        assert (names[0], names[-1]) == ("embedding", "head")
        assert sum(layer.latency_ms for layer in found.layers) == pytest.approx(
            row["latency_ms"]["p50"]
        )
        assert 0 < found.operators_ms < found.profiled_call_ms
        assert found.calls > 0
        assert all(layer.share > 0 and layer.activation_bytes > 0 for layer in layers.values())
        assert sum(layer.share for layer in found.layers if layer.name == "other") < 0.05
    first, second = (row["per_layer"]["layers"] for row in document["measurements"])
    assert second[1]["activation_bytes"] == pytest.approx(2 * first[1]["activation_bytes"], rel=0.1)


def _total(sizes: dict[str, int], *starts: str) -> int:
    return sum(size for name, size in sizes.items() if name.startswith(starts))


def test_a_file_that_names_nothing_is_one_layer(tmp_path: Path) -> None:
    path = write_mlp(tmp_path / "mlp.onnx", width=128, depth=3)
    (row,) = _command(str(path), "--threads", "1", "--min-time", "0.05")["measurements"]
    (layer,) = row["per_layer"]["layers"]
    assert (layer["name"], layer["share"], layer["operators"]) == ("other", 1.0, 4)
    assert layer["parameter_bytes"] == 4 * (192 * 128 + 2 * 128 * 128)


def test_the_table_says_where_the_time_goes(tmp_path: Path, capsys: Any) -> None:
    path = str(write_mlp(tmp_path / "mlp.onnx"))
    assert main(["bench", path, "--per-layer", "--threads", "1", "--min-time", "0.05"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "mlp, batch 1: most time in other 100.0% (-o FILE keeps all 1 layers)" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runtime", "torch"], "not for runtime 'torch'; accepted: onnxruntime"),
        (["--runtime", "tensorrt"], "not for runtime 'tensorrt'; accepted: onnxruntime"),
        (["--device", "cuda"], "not for device 'cuda'; accepted: cpu"),
        (["--host", "board"], "--per-layer is for what is measured here, not with --host"),
        (["--estimate"], "--per-layer is for measurements; an estimate is of one call"),
    ],
)
def test_what_cannot_be_profiled_is_refused_before_anything_is_measured(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "vit_tiny_patch16_224", "--per-layer", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err


def test_the_function_refuses_too() -> None:
    with pytest.raises(UsageError, match="not for runtime 'torch-compile'"):
        bench(["vit_tiny_patch16_224"], runtime="torch-compile", per_layer=True)
