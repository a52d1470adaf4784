from __future__ import annotations

from pathlib import Path

import pytest
from sweeping_helpers import SPEC, write_spec
from toy_domains import write_toy_domains

from edgeprune.domains import DomainDataset, open_dataset
from edgeprune.errors import ModelError, UsageError
from edgeprune.sweeping import read_spec
from edgeprune.sweeping.trials import check_models_and_prunings, plan


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> DomainDataset:
    return open_dataset(str(write_toy_domains(tmp_path_factory.mktemp("data") / "toy")))


def changed(folder: Path, old: str, new: str) -> Path:
    assert old in SPEC
    return write_spec(folder, text=SPEC.replace(old, new))


def test_every_combination_is_one_trial_after_its_dense_one(
    tmp_path: Path, toy: DomainDataset
) -> None:
    trials = plan(read_spec(write_spec(tmp_path)), toy)
    assert len(trials) == 2 * 2 * (1 + 2)
    assert len({trial.id for trial in trials}) == len(trials)
    seen: set[str] = set()
    for trial in trials:
        assert trial.needs is None or trial.needs in seen
        seen.add(trial.id)
        if trial.needs:
            dense = next(other for other in trials if other.id == trial.needs)
            assert (dense.key.target, dense.key.seed) == (trial.key.target, trial.key.seed)
            assert dense.key.kind == "dense"


def test_all_targets_are_every_domain(tmp_path: Path, toy: DomainDataset) -> None:
    path = changed(tmp_path, 'targets = ["day", "dusk"]\n', "")
    assert {trial.key.target for trial in plan(read_spec(path), toy)} == set(toy.domains)


def test_a_change_makes_new_trials_of_what_it_touches_alone(
    tmp_path: Path, toy: DomainDataset
) -> None:
    before = {trial.id for trial in plan(read_spec(write_spec(tmp_path)), toy)}
    more = {t.id for t in plan(read_spec(changed(tmp_path, "[0.5]", "[0.5, 0.75]")), toy)}
    assert before < more
    tuned = plan(read_spec(changed(tmp_path, "finetune = {{", "finetune = {{ lr = 2e-5,")), toy)
    assert {t.id for t in tuned if t.needs is None} < before
    assert not {t.id for t in tuned if t.needs is not None} & before
    # Another dense model makes everything that comes of it another trial too.
    dense = plan(read_spec(changed(tmp_path, "dense = {{", "dense = {{ lr = 2e-5,")), toy)
    assert not {t.id for t in dense} & before


def test_a_recipe_stands_for_its_settings(tmp_path: Path, toy: DomainDataset) -> None:
    recipe = read_spec(changed(tmp_path, "finetune = {{", "finetune = {{ recipe = 'recover',"))
    trial = plan(recipe, toy)[-1]
    settings = trial.finetune_settings()
    assert (settings.lr, settings.steps, settings.epochs) == (3e-5, 2, None)
    written = read_spec(
        changed(
            tmp_path, "finetune = {{", "finetune = {{ lr=3e-5, distill_weight=0.7, temperature=2.0,"
        )
    )
    assert plan(written, toy)[-1].id == trial.id


def test_a_block_s_recipe_goes_before_the_sweep_s_own_keys(
    tmp_path: Path, toy: DomainDataset
) -> None:
    own = changed(tmp_path, "samples = 4", "samples = 4\nfinetune = {{ recipe = 'recover-95' }}")
    settings = plan(read_spec(own), toy)[-1].finetune_settings()
    assert (settings.lr, settings.epochs, settings.steps) == (5e-4, 20, None)
    assert settings.batch_size == 6


def test_a_label_does_not_change_what_a_trial_is(tmp_path: Path, toy: DomainDataset) -> None:
    named = plan(read_spec(write_spec(tmp_path)), toy)
    other = plan(read_spec(changed(tmp_path, '"ViT-Ti"', '"tiny"')), toy)
    assert [t.id[-10:] for t in named] == [t.id[-10:] for t in other]


def test_a_long_label_leaves_an_id_that_can_be_a_directory(
    tmp_path: Path, toy: DomainDataset
) -> None:
    trials = plan(read_spec(changed(tmp_path, '"ViT-Ti"', f'"{"x" * 300}"')), toy)
    assert max(len(trial.id) for trial in trials) < 150
    assert len({trial.id for trial in trials}) == len(trials)


def test_the_data_set_s_own_split_need_not_be_said(tmp_path: Path, toy: DomainDataset) -> None:
    silent = plan(read_spec(write_spec(tmp_path)), toy)
    said = plan(read_spec(changed(tmp_path, "seeds", 'split = "file"\nseeds')), toy)
    assert [trial.id for trial in said] == [trial.id for trial in silent]


def test_fine_tuning_is_checked_without_any_pruning_too(tmp_path: Path, toy: DomainDataset) -> None:
    text = SPEC[: SPEC.index("[[prune]]")].replace("finetune = {{", "finetune = {{ lrr = 1,")
    with pytest.raises(UsageError, match=r"^finetune: unknown key 'lrr'"):
        plan(read_spec(write_spec(tmp_path, text=text)), toy)


def test_the_same_weights_in_another_folder_are_the_same_trial(
    tmp_path: Path, toy: DomainDataset
) -> None:
    ids = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        start = folder / "start.safetensors"
        start.write_bytes(b"weights")
        path = changed(folder, "pretrained = false", f"weights = '{start}'")
        ids.append([trial.id for trial in plan(read_spec(path), toy)])
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("seeds", "seed", "unknown key 'seed'", "did you mean 'seeds'?"),
        ("img_size", "image_size", "unknown key 'models.0.image_size'", "did you mean 'img_size'?"),
        ("ratios", "ratio", "unknown key 'prune.0.ratio'", "did you mean 'ratios'?"),
        ("[0, 1]", "[-1]", "seed -1 is not accepted", None),
        ("[0, 1]", "[]", "seeds: an empty list is not accepted", None),
        ("[0, 1]", "0", "seeds: 0 is not accepted: a list in brackets was expected", None),
        ('["day", "dusk"]', '"day"', "targets: 'day' is not accepted: a list in brackets", None),
        ('["day", "dusk"]', "[]", "targets: no target", None),
        ('targets = ["day", "dusk"]', "sources = []", "sources: no source", None),
        (
            "seeds",
            "sources = ['day']\nseeds",
            "sweep.toml': targets and sources: give one of the two",
            None,
        ),
        (
            "[[prune]]",
            "[bench]\ndevice = 'cdua'\n[[prune]]",
            "unknown device 'cdua'",
            "did you mean 'cuda'?",
        ),
        ("[[prune]]", "[bench]\nruntime = 'onnx'\n[[prune]]", "unknown runtime 'onnx'", None),
        ("[[prune]]", "[bench]\nruntime = 'tensorrt'\n[[prune]]", "a sweep has no engines", None),
        (
            "[[prune]]",
            "[bench]\nruntime = 'onnxruntime-tensorrt'\n[[prune]]",
            "needs device = 'cuda'",
            None,
        ),
        ('name = "toy"', "", "name: it is missing", None),
        (
            "samples = 4",
            "samples = 0",
            "prune.0.samples: 0 is not accepted: greater than or equal to 1",
            None,
        ),
        (
            "reconstruct = false",
            'reconstruct = "no"',
            "prune.0.reconstruct: 'no' is not accepted: a valid boolean",
            None,
        ),
        ("[0, 1]", "[true]", "seeds.0: True is not accepted: a valid integer", None),
        ("[0, 1]", '["1"]', "seeds.0: '1' is not accepted: a valid integer", None),
        ("= 32", "= true", "models.0.img_size: True is not accepted: a valid integer", None),
        ("[0.5]", '["0.5"]', "prune.0.ratios.0: '0.5' is not accepted: a valid number", None),
        ("[[prune]]", "[bench]\nbatches = [0]\n[[prune]]", "bench.batches.0: 0 is not", None),
        ("[[prune]]", "[bench]\nmin_time = inf\n[[prune]]", "bench.min_time: inf is not", None),
        ('"toy"\ndata', "'toy\ndata", "not valid TOML", None),
    ],
)
def test_a_spec_that_is_wrong_is_named(
    tmp_path: Path, old: str, new: str, message: str, hint: str | None
) -> None:
    with pytest.raises(UsageError) as error:
        read_spec(changed(tmp_path, old, new))
    assert message in str(error.value)
    if hint:
        assert error.value.hint == hint


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ('"day", "dusk"', '"day", "dust"', "unknown target 'dust'", "did you mean 'dusk'?"),
        ('"l1"', '"lam"', "unknown metric 'lam'", "did you mean 'lamp'?"),
        ("[0.5]", "[1.5]", "ratio 1.5 is not accepted", None),
        ("batch_size", "batchsize", "dense: unknown key 'batchsize'", "did you mean 'batch_size'?"),
        ("steps = {steps}", "steps = 1.5", "dense: steps 1.5 is not accepted", None),
        (
            "finetune = {{",
            "finetune = {{ recipe = 'recovr',",
            "finetune: unknown recipe 'recovr'",
            "did you mean 'recover'?",
        ),
        (
            "samples = 4",
            "samples = 4\nfinetune = {{ lrr = 1 }}",
            "prune.0.finetune: unknown key 'lrr'",
            "did you mean 'lr'?",
        ),
        ("[0.5]", "[0.5, 0.5]", "the same trial twice", None),
        ('targets = ["day", "dusk"]', "sources = ['dya']", "unknown source 'dya'", None),
        (
            "vit_tiny_patch16_224",
            "vit_tiny_patch16_22",
            "unknown model 'vit_tiny_patch16_22'",
            None,
        ),
        ("pretrained = false", 'weights = "none"', "neither a file nor a name", None),
    ],
)
def test_a_value_that_does_not_fit_is_named(
    tmp_path: Path, toy: DomainDataset, old: str, new: str, message: str, hint: str | None
) -> None:
    spec = read_spec(changed(tmp_path, old, new))
    with pytest.raises((UsageError, ModelError)) as error:
        check_models_and_prunings(plan(spec, toy), len(toy.classes))
    assert message in str(error.value)
    if hint:
        assert error.value.hint == hint


def test_two_models_of_one_name_need_labels(tmp_path: Path, toy: DomainDataset) -> None:
    model = SPEC[SPEC.index("[[models]]") : SPEC.index("[[prune]]")]
    spec = read_spec(changed(tmp_path, "[[prune]]", model + "[[prune]]"))
    with pytest.raises(UsageError, match="two models are called 'ViT-Ti'"):
        plan(spec, toy)


def test_a_spec_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_spec(tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_spec(tmp_path / "folder.toml")
    with pytest.raises(UsageError, match="unknown sweep 'emojis'") as error:
        read_spec("emojis")
    assert error.value.hint == "did you mean 'emoji'?"


def test_one_source_in_turn_leaves_all_others_out(tmp_path: Path, toy: DomainDataset) -> None:
    alone = changed(tmp_path, 'targets = ["day", "dusk"]', 'sources = ["day", "dusk"]')
    trials = plan(read_spec(alone), toy)
    assert {trial.key.target for trial in trials} == {"all but day", "all but dusk"}
    split = next(trial for trial in trials if trial.source == "day").divide(toy)
    assert split.sources == ["day"]
    assert set(split.targets) == set(toy.domains) - {"day"}
    # The trials of the other protocol are others.
    usual = plan(read_spec(write_spec(tmp_path)), toy)
    assert not {trial.id for trial in trials} & {trial.id for trial in usual}


def test_every_domain_alone(tmp_path: Path, toy: DomainDataset) -> None:
    alone = changed(tmp_path, 'targets = ["day", "dusk"]', 'sources = "all"')
    assert {trial.source for trial in plan(read_spec(alone), toy)} == set(toy.domains)


def test_how_often_a_state_is_written_does_not_make_another_trial(
    tmp_path: Path, toy: DomainDataset
) -> None:
    before = [trial.id for trial in plan(read_spec(write_spec(tmp_path)), toy)]
    text = SPEC.replace("checkpoint_every = 1", "checkpoint_every = 50")
    seldom = plan(read_spec(write_spec(tmp_path, text=text)), toy)
    assert [trial.id for trial in seldom] == before
    assert {trial.finetune_settings().checkpoint_every for trial in seldom} == {50}
