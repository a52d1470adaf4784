"""Recipes: settings of fine-tuning that belong together, as TOML files in ``edgeprune/recipes``.

A recipe holds ``about``, one line for people, and any fields of FinetuneSettings but ``seed``,
which is a run's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from edgeprune.errors import UsageError, one_of
from edgeprune.schema import Document, Facts
from edgeprune.toml_files import parse_toml, read_toml_text
from edgeprune.training.settings import FinetuneSettings

DIRECTORY = Path(__file__).resolve().parent.parent / "recipes"
ABOUT = "about"
# How long a run is, said in one of two ways.
LENGTH = ("steps", "epochs")
KEYS = tuple(item.name for item in fields(FinetuneSettings) if item.name != "seed")


@dataclass(frozen=True)
class Recipe:
    """Some of the settings of a fine-tuning; the others are FinetuneSettings' own.

    Attributes:
        name: as it is asked for.
        about: what it is for, one line.
        settings: fields of FinetuneSettings by name.
    """

    name: str
    about: str
    settings: dict[str, Any]

    def with_given(self, **given: Any) -> FinetuneSettings:
        """Return the recipe's settings, but what is ``given`` (not None) instead of its own.

        A length, ``steps`` or ``epochs``, replaces the recipe's whichever it has.

        Raises:
            UsageError: if a value is outside its range.
        """
        chosen = {name: value for name, value in given.items() if value is not None}
        return FinetuneSettings(**self.merged(chosen))

    def merged(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the recipe's settings by name, but what is ``given`` instead of its own."""
        dropped = LENGTH if any(name in given for name in LENGTH) else ()
        own = {name: value for name, value in self.settings.items() if name not in dropped}
        return {**own, **given}


NONE = Recipe("none", "edgeprune's own defaults", {})


class RecipeFacts(Facts):
    """One recipe in a list."""

    name: str
    about: str
    settings: dict[str, Any]


class RecipeList(Document):
    """What ``edgeprune recipes list`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/recipes-list@1"

    recipes: list[RecipeFacts]


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with edgeprune, sorted."""
    return sorted(path.stem for path in DIRECTORY.glob("*.toml"))


def list_recipes() -> RecipeList:
    """Load every recipe that comes with edgeprune."""
    found = [load_recipe(name) for name in recipe_names()]
    return RecipeList(
        recipes=[RecipeFacts(name=r.name, about=r.about, settings=r.settings) for r in found]
    )


def load_recipe(name: str) -> Recipe:
    """Load one of edgeprune's recipes by name, or a file by a path ending in .toml.

    Raises:
        UsageError: if the name or a key is unknown (naming the nearest), the file cannot be
            read, or a value is not accepted.
    """
    if name.endswith(".toml"):
        return _read(Path(name))
    return _read(DIRECTORY / f"{one_of(name, 'recipe', recipe_names())}.toml")


def _read(path: Path) -> Recipe:
    where = f"recipe {str(path)!r}"
    raw = parse_toml(read_toml_text(path, where), where)
    try:
        settings = {key: value for key, value in raw.items() if key != ABOUT}
        return Recipe(path.stem, _about(raw), check_settings(settings, extra=(ABOUT,)))
    except UsageError as error:
        raise UsageError(f"{where}: {error}", hint=error.hint) from None


def _about(raw: dict[str, Any]) -> str:
    about = raw.get(ABOUT, "")
    if not isinstance(about, str):
        raise UsageError(f"{ABOUT} {about!r} is not accepted: a text in quotes")
    return about


def check_settings(settings: Mapping[str, Any], extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """Check settings that come from a file; ``extra`` names what else the file may hold.

    Raises:
        UsageError: if a key is unknown (naming the nearest), or a value is not accepted.
    """
    types = get_type_hints(FinetuneSettings)
    for key, value in settings.items():
        one_of(key, "key", (*extra, *KEYS))
        try:
            TypeAdapter(types[key]).validate_python(value, strict=True)
        except ValidationError as error:
            wanted = error.errors()[0]["msg"].removeprefix("Input should be ")
            raise UsageError(f"{key} {value!r} is not accepted: {wanted}") from None
    FinetuneSettings(**settings)
    return dict(settings)
