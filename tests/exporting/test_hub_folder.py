from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from models import made_small
from small_exports import fit_classifier, small_model, toy_labelled
from toy_domains import MODEL, SIZE

from edgeprune import artifact
from edgeprune.base_weights import RANDOM
from edgeprune.cli import main
from edgeprune.exporting import export_hub
from edgeprune.exporting.model_card import model_card
from edgeprune.loading import load_model
from edgeprune.model import DenseOptions, Model, create
from edgeprune.onnx_runner import OnnxRunner
from edgeprune.schema import (
    BaseWeights,
    DataFacts,
    DomainParity,
    ExportedFile,
    Made,
    Parity,
    SplitFacts,
)
from edgeprune.training import evaluate


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Model:
    labelled = toy_labelled(tmp_path_factory.mktemp("data") / "toy")
    model = small_model()
    fit_classifier(model, labelled)
    dg = evaluate(model, labelled.dataset, labelled.split).dg
    return model.with_record(dg=dg, class_names=list(labelled.dataset.classes))


def header(card: str) -> dict[str, Any]:
    _, front, _ = card.split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(front)
    return found


def test_the_folder_is_an_artifact_with_onnx_files_and_a_card(
    scored: Model, tmp_path: Path
) -> None:
    folder = tmp_path / "half-vit"
    result = export_hub(scored, folder, licence="MIT")
    assert [file.path for file in result.files] == [str(folder / "onnx" / "model.onnx")]
    assert OnnxRunner(folder / "onnx" / "model.onnx").metadata["edgeprune.model"] == MODEL
    assert load_model(str(folder)).record.dg == scored.record.dg
    card = (folder / "README.md").read_text()
    facts = header(card)
    assert (facts["license"], facts["library_name"]) == ("mit", "edgeprune")
    (found,) = facts["model-index"][0]["results"]
    dg = scored.record.dg
    assert dg is not None
    assert found["metrics"][0]["value"] == pytest.approx(dg.target_accuracy, abs=0.01)
    for domain, accuracy in dg.domains.items():
        assert f"| {domain} |" in card
        assert f"{accuracy.accuracy:.1f} %" in card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half-vit"]


def test_what_was_scored_only_at_the_export_is_in_the_card(scored: Model) -> None:
    record = scored.record.model_copy(update={"dg": None})
    assert "It was not scored on any data." in model_card(record, [], "name")

    def domain(pytorch: float) -> DomainParity:
        return DomainParity(
            accuracy=1.0,
            pytorch=pytorch,
            drop_ci95=(0.0, 0.0),
            n=40,
            top1_agreement=100.0,
            max_abs=0.0,
            mean_abs=0.0,
        )

    parity = Parity(
        max_abs=0.0,
        mean_abs=0.0,
        top1_agreement=100.0,
        n=8,
        inputs=["random"],
        domains={"day": domain(81.25), "night": domain(62.5)},
        target="night",
    )
    file = ExportedFile(
        path="onnx/model.onnx",
        format="onnx",
        precision="fp32",
        opset=18,
        bytes=1,
        sha256="",
        parity=parity,
        verified="parity",
    )
    card = model_card(record, [file], "name")
    assert "not scored on any data" not in card
    assert "| night | held out | 62.5 % | 40 |" in card
    assert card.index("| night |") < card.index("| day | source (validation images) | 81.2 % |")


@pytest.mark.parametrize(
    ("base", "given", "keys", "text"),
    [
        (None, None, {"license": "unknown"}, "not recorded which weights"),
        (RANDOM, None, {"license": "unknown"}, "started from random weights"),
        (
            BaseWeights(origin="hub", name="timm/vit", licence="cc-by-nc-4.0"),
            None,
            {"license": "cc-by-nc-4.0", "base_model": "timm/vit"},
            "Licence: cc-by-nc-4.0.",
        ),
        (
            BaseWeights(origin="file", name="x", source="X by Y", licence="A (X), B (Y)"),
            None,
            {"license": "other", "license_name": "a-x-b-y", "license_link": "README.md"},
            "X by Y",
        ),
        (BaseWeights(origin="file", name="x"), None, {"license": "unknown"}, "find it out"),
        (BaseWeights(origin="file", name="x"), "Apache-2.0", {"license": "apache-2.0"}, "Apache"),
    ],
)
def test_the_licence_is_what_is_recorded_or_said(
    scored: Model,
    base: BaseWeights | None,
    given: str | None,
    keys: dict[str, str],
    text: str,
) -> None:
    card = model_card(scored.record.model_copy(update={"base": base}), [], "name", given)
    facts = header(card)
    assert {key: value for key, value in facts.items() if "license" in key} == {
        key: value for key, value in keys.items() if key != "base_model"
    }
    assert facts.get("base_model") == keys.get("base_model")
    assert text in card


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        (["day", "dusk"], "1,200 images of toy, without night"),
        (["day"], "1,200 images of toy, domain day alone"),
        ([], "1,200 images of toy, without night"),  # as artifacts were before
    ],
)
def test_the_card_says_which_domains_were_trained_on(
    scored: Model, sources: list[str], told: str
) -> None:
    split = SplitFacts(by="file", seed=0, holdout=0.2)
    data = DataFacts(
        dataset="toy", fingerprint="", target="night", sources=sources, split=split, samples=1200
    )
    made = Made(command="finetune", options={}, seed=0, data=data, versions={})
    card = model_card(scored.record.model_copy(update={"made": [made]}), [], "name")
    assert told in card


def test_names_from_others_cannot_break_the_card(scored: Model) -> None:
    assert scored.record.dg is not None
    dg = scored.record.dg.model_copy(update={"dataset": 'a"\n---\n| <b>'})
    card = model_card(scored.record.model_copy(update={"dg": dg}), [], 'x"\nlicense: mit')
    assert header(card)["license"] == "unknown"
    assert "<b>" not in card.split("---\n", 2)[2].replace("\\<b\\>", "")


def test_a_file_of_weights_says_where_it_comes_from(tmp_path: Path) -> None:
    import safetensors.torch

    model = small_model()
    told = {"name": "own", "source": "made here", "licence": "MIT"}
    path = tmp_path / "own.safetensors"
    state = {name: value.contiguous() for name, value in model.module.state_dict().items()}
    safetensors.torch.save_file(state, path, metadata={"edgeprune": json.dumps(told)})
    with made_small({}, 2):
        made = create(MODEL, DenseOptions(3, SIZE, weights=path))
    base = made.record.base
    assert base is not None
    assert (base.origin, base.name, base.source, base.licence) == ("file", *told.values())
    artifact.save(made, tmp_path / "saved")
    assert artifact.read_record(tmp_path / "saved").base == base


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hub", "{out}/a", "-o", "{out}/b"], "give one of the two"),
        (["--onnx"], "it was not said where to write"),
        (["--onnx", "-o", "{out}/a", "--licence", "mit"], "for the model card of a --hub folder"),
    ],
)
def test_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    given = [option.format(out=tmp_path) for option in options]
    assert main(["export", MODEL, *given]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
