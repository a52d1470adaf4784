from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from edgeprune.cli import app
from edgeprune.errors import UsageError
from edgeprune.training import FinetuneSettings
from edgeprune.training.recipes import (
    NONE,
    Recipe,
    list_recipes,
    load_recipe,
    recipe_names,
)


def _write(directory: Path, text: str) -> str:
    path = directory / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_makes_settings(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.about
    made = recipe.with_given()
    assert made != FinetuneSettings()
    for key, value in recipe.settings.items():
        assert getattr(made, key) == value


def test_the_recipes_are_all_there() -> None:
    assert {"domainbed", "recover", "recover-95", "swad"} <= set(recipe_names())
    assert [recipe.name for recipe in list_recipes().recipes] == recipe_names()


def test_the_documentation_names_every_recipe() -> None:
    document = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    for name in recipe_names():
        assert f"| `{name}` |" in document


def test_domainbed_is_domainbed() -> None:
    made = load_recipe("domainbed").with_given()
    assert (made.steps, made.lr, made.weight_decay, made.batch_size) == (5001, 5e-5, 0.0, 3 * 32)
    # Adam at a constant rate, and the plain loss
    assert (made.warmup_share, made.min_lr_share, made.label_smoothing) == (0.0, 1.0, 0.0)


def test_swad_is_domainbed_averaged() -> None:
    plain, averaged = load_recipe("domainbed").settings, load_recipe("swad").settings
    only = {"average", "swad_start_patience", "swad_end_patience", "swad_tolerance", "eval_every"}
    assert {key for key in averaged if averaged[key] != plain.get(key)} == only


def test_what_is_given_wins() -> None:
    recipe = Recipe("r", "", {"steps": 7, "lr": 1e-3, "weight_decay": 0.1})
    made = recipe.with_given(lr=1e-2, weight_decay=0.0, batch_size=None, seed=3)
    assert (made.steps, made.lr, made.weight_decay, made.seed) == (7, 1e-2, 0.0, 3)
    assert made.batch_size == FinetuneSettings().batch_size


def test_a_length_replaces_the_other() -> None:
    made = Recipe("r", "", {"steps": 7}).with_given(epochs=2)
    assert (made.steps, made.epochs) == (None, 2)
    with pytest.raises(UsageError, match="give one of the two"):
        NONE.with_given(steps=1, epochs=1)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    recipe = load_recipe(_write(tmp_path, "lr = 1\nsteps = 3\n"))
    assert (recipe.name, recipe.about, recipe.settings) == ("mine", "", {"lr": 1, "steps": 3})


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("layer_decy = 0.9", "unknown key 'layer_decy'; accepted: about, steps", "'layer_decay'"),
        ("seed = 1", "unknown key 'seed'", ""),
        ("lr = 'fast'", "lr 'fast' is not accepted: a valid number", ""),
        ("steps = 1.5", "steps 1.5 is not accepted", ""),
        ("steps = true", "steps True is not accepted: a valid integer", ""),
        ("lr = -1.0", "lr -1.0 is not accepted: a number above 0", ""),
        ("precision = 'bf61'", "unknown precision 'bf61'", "'bf16'"),
        ("about = 3", "about 3 is not accepted", ""),
        ("steps = 1\nepochs = 1", "give one of the two", ""),
        ("lr = ", "not valid TOML", ""),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_name(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        load_recipe(_write(tmp_path, text))
    assert "mine.toml" in str(caught.value)
    assert hint in (caught.value.hint or "")


def test_unknown_recipes_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown recipe 'domanbed'; accepted: ") as caught:
        load_recipe("domanbed")
    assert caught.value.hint == "did you mean 'domainbed'?"
    with pytest.raises(UsageError, match=r"nothing.toml' cannot be read: No such file"):
        load_recipe(str(tmp_path / "nothing.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_recipe(str(tmp_path / "folder.toml"))


def test_the_help_states_the_defaults_of_the_settings() -> None:
    """Options default to None, so that a recipe can tell what was given."""
    command = typer.main.get_command(app).commands["finetune"]  # type: ignore[attr-defined]
    names = {"warmup": "warmup_share"}
    stated = {}
    for option in command.params:
        found = re.search(r"Default: (\S+)\.$", getattr(option, "help", None) or "")
        name = names.get(option.name, option.name)
        if found and hasattr(FinetuneSettings, name) and name != "epochs":
            default = getattr(FinetuneSettings(), name)
            assert type(default)(found[1]) == default, name
            assert option.default is None, name
            stated[name] = found[1]
    assert {"batch_size", "lr", "warmup_share", "precision", "device"} <= set(stated)
