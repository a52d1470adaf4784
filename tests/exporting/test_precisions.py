"""All precisions in one export: files, metadata, accuracy, and what is refused."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from onnxscript import ir
from small_exports import fit_classifier, small_model, toy_labelled, with_outlier

from edgeprune.benchmarking.runtimes.base import Job
from edgeprune.benchmarking.runtimes.onnxruntime import load
from edgeprune.errors import CheckError, DiskFullError, UsageError
from edgeprune.exporting import ExportSettings, Int8Settings, Labelled, export
from edgeprune.exporting.accuracy import Answers, complaints
from edgeprune.exporting.onnx import trace
from edgeprune.exporting.quantisation import fewest
from edgeprune.model import Model
from edgeprune.pruning import PruneSettings, prune
from edgeprune.schema import DomainParity
from edgeprune.training import evaluate, open_onnx

ALL = ("fp32", "fp16", "int8")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    return toy_labelled(tmp_path_factory.mktemp("data") / "halves", per_class=12)


@pytest.fixture(scope="module")
def traced(labelled: Labelled) -> tuple[Model, ir.Model]:
    model = small_model()
    fit_classifier(model, labelled)
    with_outlier(model, 0)
    named = model.with_record(class_names=list(labelled.dataset.classes))
    return named, trace(named)


@pytest.fixture
def model(traced: tuple[Model, ir.Model], monkeypatch: pytest.MonkeyPatch) -> Model:
    """A fitted model, which is not traced again."""
    module = import_module("edgeprune.exporting.export")
    monkeypatch.setattr(module, "trace", lambda *_, **__: traced[1].clone())
    return traced[0]


def _settings(**options: object) -> ExportSettings:
    return ExportSettings(int8=Int8Settings(samples=16), **options)  # type: ignore[arg-type]


def _facts(path: str) -> dict[str, str]:
    proto = onnx.load(path, load_external_data=False)
    return {prop.key: prop.value for prop in proto.metadata_props}


def test_one_file_per_precision(model: Model, labelled: Labelled, tmp_path: Path) -> None:
    result = export(model, tmp_path / "out", _settings(precisions=ALL), labelled=labelled)
    assert [Path(file.path).name for file in result.files] == [
        "model.onnx",
        "model.fp16.onnx",
        "model.int8.onnx",
    ]
    assert len(list((tmp_path / "out").iterdir())) == 3
    fp32, fp16, int8 = result.files
    assert fp32.bytes > 1.7 * fp16.bytes
    assert fp16.bytes > 1.2 * int8.bytes  # of which one layer is fp32
    assert [layer.name for layer in int8.kept] == ["blocks.0.mlp.fc1"]
    for file in result.files:
        facts = _facts(file.path)
        assert facts["edgeprune.precision"] == file.precision
        assert json.loads(facts["edgeprune.classes"]) == list(labelled.dataset.classes)
        assert json.loads(facts["edgeprune.kept_fp32"]) == [part.name for part in file.kept]
        assert json.loads(facts["edgeprune.input"]) == {"type": "fp32", "layout": "NCHW"}
        # what the export says is what edgeprune eval finds
        dg = evaluate(open_onnx(Path(file.path)), labelled.dataset, labelled.split).dg
        parity = file.parity
        assert parity is not None
        assert parity.source_val is not None
        assert parity.source_val.accuracy == pytest.approx(dg.source_val_accuracy)
        assert parity.source_val.drop <= 0.5
        assert {name: own.accuracy for name, own in parity.domains.items()} == {
            name: own.accuracy for name, own in dg.domains.items()
        }
        assert parity.target == "night"
        assert parity.worst_domain is not None
        accuracies = [own.accuracy for own in parity.domains.values()]
        assert parity.domains[parity.worst_domain].accuracy == min(accuracies)
    assert int8.int8 is not None
    assert json.loads(_facts(int8.path)["edgeprune.int8"]) == int8.int8.model_dump(mode="json")
    assert int8.int8.data is not None
    assert int8.int8.data.samples == 16


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_pixels_go_in_where_asked(
    model: Model, labelled: Labelled, precision: str, tmp_path: Path
) -> None:
    settings = _settings(precisions=(precision,), pixels=True)
    (file,) = export(model, tmp_path / "out", settings, labelled=labelled).files
    (images,) = onnx.load(file.path).graph.input
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_value for d in images.type.tensor_type.shape.dim][1:] == [32, 32, 3]
    assert file.input == "uint8"
    opened = open_onnx(Path(file.path))
    found = evaluate(opened, labelled.dataset, labelled.split).dg.target_accuracy
    assert file.parity is not None
    assert file.parity.domains["night"].accuracy == found
    load(
        Job("pixels", "onnxruntime", file.path, "cpu", 2, 1, 0)
    ).run()  # edgeprune bench takes it too


def test_the_optimised_graph_is_proved_and_keeps_its_metadata(
    model: Model, labelled: Labelled, tmp_path: Path
) -> None:
    settings = _settings(precisions=("fp32", "int8"), optimize=True)
    files = export(model, tmp_path / "out", settings, labelled=labelled).files
    kinds = [{node.op_type for node in onnx.load(file.path).graph.node} for file in files]
    assert "FusedMatMul" in kinds[0]
    assert "QGemm" in kinds[1]
    assert all(file.optimized for file in files)
    assert _facts(files[1].path)["edgeprune.precision"] == "int8"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model.int8.onnx",
        "model.onnx",
    ]


def test_pruned_heads_survive_the_optimiser(tmp_path: Path) -> None:
    model = prune(small_model(), PruneSettings(ratio=0.5, metric="random")).model
    widths = {(width.dim, width.width) for width in model.record.widths}
    embed = next(width for dim, width in widths if dim == "embed")
    assert any(dim == "heads" and width * 64 != embed for dim, width in widths)
    (file,) = export(model, tmp_path / "out", ExportSettings(optimize=True)).files
    assert file.parity is not None
    assert file.parity.max_abs <= 1e-4
    operators = {node.op_type for node in onnx.load(file.path).graph.node}
    assert "FusedMatMul" in operators


@pytest.mark.parametrize("optimize", [False, True])
def test_large_weights_go_beside_the_file(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimize: bool
) -> None:
    monkeypatch.setattr("edgeprune.exporting.onnx.SINGLE_FILE_LIMIT_BYTES", 1_000_000)
    (file,) = export(model, tmp_path / "out", _settings(optimize=optimize)).files
    names = [path.name for path in (tmp_path / "out").iterdir()]
    assert sorted(names) == ["model.onnx", "model.onnx.data"]
    assert file.external is not None
    assert Path(file.external.path) == tmp_path / "out/model.onnx.data"
    assert file.external.bytes == Path(file.external.path).stat().st_size > 1_000_000 > file.bytes
    assert file.parity is not None


@pytest.mark.parametrize("outside", [False, True])
def test_a_disk_without_room_for_the_optimised_form_is_named(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside: bool
) -> None:
    if outside:
        monkeypatch.setattr("edgeprune.exporting.onnx.SINGLE_FILE_LIMIT_BYTES", 1_000_000)
    room = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr("edgeprune.exporting.optimise.shutil.disk_usage", lambda _: room)
    with pytest.raises(DiskFullError, match=r"no space left .* optimised form of 'model\.onnx'"):
        export(model, tmp_path / "out", _settings(optimize=True))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_loses_accuracy_is_not_kept(
    model: Model, labelled: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # all layers are quantised, whatever it costs
    module = import_module("edgeprune.exporting.quantisation")
    monkeypatch.setattr(module, "fewest", lambda holds, most: 0)
    with pytest.raises(CheckError, match=r"int8 ONNX file loses more than 0\.5 points: accuracy"):
        export(model, tmp_path / "out", _settings(precisions=ALL), labelled=labelled)
    assert list(tmp_path.iterdir()) == []
    assert fewest(lambda number: True, 1) == 1


def test_a_domain_counts_where_chance_cannot_explain_its_drop(labelled: Labelled) -> None:
    expected = Answers(labelled, {}, {})

    def domain(drop: float, low: float) -> DomainParity:
        return DomainParity(
            accuracy=80 - drop,
            pytorch=80,
            drop_ci95=(low, 2 * drop - low),
            n=100,
            top1_agreement=90,
            max_abs=0.1,
            mean_abs=0.1,
        )

    fine = {"day": domain(0, -1), "dusk": domain(0.5, -1), "night": domain(4, -1)}
    assert complaints(expected, fine, 0.5) == []
    (text,) = complaints(expected, fine | {"night": domain(4, 0.6)}, 0.5)
    assert text == "accuracy on 'night' falls from 80.0 % to 76.0 %"
    (text,) = complaints(expected, fine | {"day": domain(2, -1)}, 0.5)
    assert text == "accuracy on source validation falls from 80.0 % to 78.8 %"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precisions": ("int4",)}, "unknown precision 'int4'; accepted: fp32, fp16, int8"),
        ({"precisions": ()}, "each once"),
        ({"precisions": ("fp16", "fp16")}, "each once"),
        ({"io": "fp16"}, "need --precision fp16"),
        ({"precisions": ("fp16",), "optimize": True}, "casts to fp32"),
    ],
)
def test_settings_that_contradict_each_other(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _settings(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "qat"}, "unknown int8 mode 'qat'; accepted: static, dynamic"),
        ({"method": "mse"}, "unknown calibration 'mse'"),
        ({"runtime": "tpu"}, "accepted: cpu, cpu-avx2, tensorrt"),
        ({"max_drop": -1.0}, "a drop of -1 points"),
        ({"mode": "dynamic", "runtime": "tensorrt"}, "needs static int8"),
    ],
)
def test_int8_settings_out_of_range(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Int8Settings(**options)  # type: ignore[arg-type]


def test_int8_needs_images(model: Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="int8 needs images"):
        export(model, tmp_path / "out", _settings(precisions=("int8",)))
    assert list(tmp_path.iterdir()) == []
