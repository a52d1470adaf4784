from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from recorded_progress import Recorded
from toy_domains import CLASSES, MODEL, SIZE, write_toy_domains

from edgeprune.domains import DomainDataset, data_facts, leave_one_out, open_dataset, single_source
from edgeprune.drop import compare
from edgeprune.errors import ModelError, UsageError
from edgeprune.model import DenseOptions, Model, create
from edgeprune.predictions import read_predictions
from edgeprune.schema import ArtifactRecord, DataFacts, Made, SplitFacts
from edgeprune.training import choose_split, evaluate, open_onnx
from edgeprune.training.evaluation import Tally, mean_interval, wilson

PREPROCESS = {
    "img_size": SIZE,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
}
METADATA = {
    "edgeprune.model": "toy",
    "edgeprune.classes": json.dumps(CLASSES),
    "edgeprune.preprocess": json.dumps(PREPROCESS),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DomainDataset:
    return open_dataset(str(write_toy_domains(tmp_path_factory.mktemp("data") / "halves")))


@pytest.fixture(scope="module")
def model() -> Model:
    return create(MODEL, DenseOptions(num_classes=3, img_size=SIZE, pretrained=False))


def _trained(model: Model, dataset: DomainDataset, seed: int = 5) -> ArtifactRecord:
    facts = DataFacts(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        target="dusk",
        split=SplitFacts(by="group", seed=seed, holdout=0.3),
        samples=1,
    )
    made = Made(command="finetune", options={}, seed=seed, data=facts, versions={})
    return model.record.model_copy(update={"made": [made]})


def test_wilson_interval_matches_published_values() -> None:
    # Newcombe (1998), table I: 81 of 263, and the limits at 0 of 20 and 20 of 20
    assert wilson(81, 263) == pytest.approx((25.53, 36.62), abs=0.01)
    assert wilson(0, 20) == pytest.approx((0.0, 16.11), abs=0.01)
    assert wilson(20, 20) == pytest.approx((83.89, 100.0), abs=0.01)


def test_every_domain_is_scored_on_its_own_part(model: Model, dataset: DomainDataset) -> None:
    split = leave_one_out(dataset, "dusk")
    dg = evaluate(model, dataset, split, batch_size=7).dg
    assert {name: found.n for name, found in dg.domains.items()} == {
        "day": 6,
        "dusk": 30,
        "night": 6,
    }
    assert dg.target_accuracy == dg.domains["dusk"].accuracy
    sources = [dg.domains["day"].accuracy, dg.domains["night"].accuracy]
    assert dg.source_val_accuracy == pytest.approx(sum(sources) / 2)
    other = evaluate(model, dataset, split, batch_size=64).dg
    assert other.calibration_error == pytest.approx(dg.calibration_error, abs=1e-3)
    assert other.model_copy(update={"calibration_error": dg.calibration_error}) == dg
    with pytest.raises(UsageError, match="batch size 0"):
        evaluate(model, dataset, split, batch_size=0)


def test_one_source_is_scored_on_every_other_domain(model: Model, dataset: DomainDataset) -> None:
    split = single_source(dataset, "day")
    dg = evaluate(model, dataset, split, batch_size=7).dg
    assert (dg.target, dg.targets, dg.sources) == ("all but day", ["dusk", "night"], ["day"])
    assert {name: found.n for name, found in dg.domains.items()} == {
        "day": 6,
        "dusk": 30,
        "night": 30,
    }
    accuracies = [dg.domains[name].accuracy for name in ("dusk", "night")]
    assert dg.target_accuracy == pytest.approx(sum(accuracies) / 2)
    assert dg.source_val_accuracy == dg.domains["day"].accuracy
    assert dg.target_n == 60


def test_drop_against_a_dense_model_and_the_predictions_that_it_comes_from(
    model: Model, dataset: DomainDataset, tmp_path: Path
) -> None:
    other = create(MODEL, DenseOptions(num_classes=3, img_size=SIZE, pretrained=False, seed=1))
    split = leave_one_out(dataset, "dusk", by="group")
    kept = tmp_path / "p.safetensors"
    result = evaluate(model, dataset, split, dense=other, against="other", output=kept)
    reference = evaluate(other, dataset, split, output=tmp_path / "other.safetensors")
    drop = result.drop
    assert drop is not None
    assert drop.points == pytest.approx(result.dg.target_accuracy - reference.dg.target_accuracy)
    assert (drop.against, drop.resampled, drop.n) == ("other", "group", result.dg.target_n)
    stored = [read_predictions(path) for path in (kept, tmp_path / "other.safetensors")]
    assert compare(*stored, against="other") == drop
    assert (result.seed, result.fingerprint) == (None, None)
    made = Made(command="finetune", options={"selection": "oracle"}, seed=0, versions={})
    oracle = Model(model.module, model.record.model_copy(update={"made": [made]}))
    with pytest.raises(UsageError, match="selected by oracle, that of 'other' by None"):
        evaluate(oracle, dataset, split, dense=other, against="other")


def test_interval_of_a_mean_covers_it_at_the_stated_rate() -> None:
    generator = np.random.default_rng(0)
    shares, sizes = np.array([0.9, 0.6, 0.75]), np.array([40, 150, 80])
    covered = 0
    for _ in range(1000):
        correct = generator.binomial(sizes, shares)
        found = [
            Tally(int(c), int(n), 0.0).with_interval() for c, n in zip(correct, sizes, strict=True)
        ]
        low, high = mean_interval(found)
        covered += low <= 100 * shares.mean() <= high
    assert 930 <= covered <= 975
    assert mean_interval(found[:1]) == pytest.approx(found[0].ci95)


def _constant_onnx(path: Path, metadata: dict[str, str], batch: int | str = "batch") -> Path:
    """A network that answers class 1 for every image."""
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("Mul", ["column", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "bias"], ["logits"]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
        helper.make_tensor("bias", TensorProto.FLOAT, [3], [0.0, 1.0, 0.0]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, SIZE, SIZE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])
    graph = helper.make_graph(nodes, "constant", [images], [logits], constants)
    proto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="test"
    )
    helper.set_model_props(proto, metadata)
    onnx.save(proto, str(path))
    return path


@pytest.mark.parametrize("batch", ["batch", 4])
def test_onnx_file_is_scored_with_its_own_preprocessing(
    dataset: DomainDataset, tmp_path: Path, batch: int | str
) -> None:
    marked = {**METADATA, "edgeprune.selection": "oracle", "edgeprune.fingerprint": "abc"}
    opened = open_onnx(_constant_onnx(tmp_path / "m.onnx", marked, batch))
    result = evaluate(opened, dataset, leave_one_out(dataset, "dusk"), batch_size=7)
    assert (result.model, result.dg.selection, result.fingerprint) == ("toy", "oracle", "abc")
    assert result.dg.target_accuracy == pytest.approx(100 / 3)
    assert opened.preprocess.img_size == SIZE


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "has no metadata 'edgeprune.classes'"),
        ({**METADATA, "edgeprune.classes": "null"}, "does not name its classes"),
        ({**METADATA, "edgeprune.classes": "[oops"}, "are damaged"),
        ({**METADATA, "edgeprune.preprocess": "{}"}, "'edgeprune.preprocess' are damaged"),
        ({**METADATA, "edgeprune.selection": "best"}, "unknown selection 'best'"),
    ],
)
def test_onnx_metadata_that_do_not_say_enough_are_refused(
    tmp_path: Path, metadata: dict[str, str], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        open_onnx(_constant_onnx(tmp_path / "m.onnx", metadata))


def test_onnx_files_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ModelError, match="cannot be run by ONNX Runtime"):
        open_onnx(tmp_path / "text.onnx")
    with pytest.raises(ModelError, match="does not exist"):
        open_onnx(tmp_path / "absent.onnx")


def test_onnx_of_other_classes_is_refused(dataset: DomainDataset, tmp_path: Path) -> None:
    other = {**METADATA, "edgeprune.classes": json.dumps(["bottom", "dots", "top"])}
    opened = open_onnx(_constant_onnx(tmp_path / "m.onnx", other))
    with pytest.raises(ModelError, match="'dots' where the data have 'plain'"):
        evaluate(opened, dataset, leave_one_out(dataset, "dusk"))


def test_split_follows_the_training_of_the_artifact(model: Model, dataset: DomainDataset) -> None:
    progress = Recorded()
    record = _trained(model, dataset)
    split = choose_split(dataset, record, progress=progress)
    assert split == leave_one_out(dataset, "dusk", by="group", seed=5, holdout=0.3)
    assert progress.lines == []


def test_scores_that_training_may_have_seen_are_marked(
    model: Model, dataset: DomainDataset
) -> None:
    record = _trained(model, dataset)
    for options, expected in (
        ({"target": "day"}, "not that on an unseen domain"),
        ({"seed": 6}, "another split"),
        ({"by": "file"}, "another split"),
    ):
        progress = Recorded()
        choose_split(dataset, record, progress=progress, **options)
        assert len(progress.lines) == 1
        assert expected in progress.lines[0]


def test_split_follows_single_source_training(model: Model, dataset: DomainDataset) -> None:
    split = single_source(dataset, "day")
    made = Made(
        command="finetune", options={}, seed=0, data=data_facts(dataset, split, 1), versions={}
    )
    record = model.record.model_copy(update={"made": [made]})
    progress = Recorded()
    assert choose_split(dataset, record, progress=progress) == split
    # Never seen in training, so that leaving it out says the truth as well.
    assert choose_split(dataset, record, target="dusk", progress=progress).targets == ["dusk"]
    assert progress.lines == []
    choose_split(dataset, record, source="night", progress=progress)
    assert "with images of day" in progress.lines[0]


def test_without_a_target_the_domains_are_named(model: Model, dataset: DomainDataset) -> None:
    with pytest.raises(UsageError, match="day, dusk, night"):
        choose_split(dataset, model.record)
    assert choose_split(dataset, target="day") == leave_one_out(dataset, "day")
