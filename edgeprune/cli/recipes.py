"""``edgeprune recipes``: settings of fine-tuning that belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from edgeprune.cli import app
from edgeprune.cli.options import Json
from edgeprune.cli.render import quiet_stdout, show

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.training.recipes import RecipeList

recipes_app = typer.Typer(
    help="Settings of fine-tuning that belong together.", no_args_is_help=True
)
app.add_typer(recipes_app, name="recipes")


@recipes_app.command("list")
def list_(json_: Json = False) -> None:
    """List the recipes that 'finetune --recipe' knows, with their settings."""
    with quiet_stdout():
        from edgeprune.training.recipes import list_recipes

        document = list_recipes()
    show(document, json_, lambda console: _table(console, document))


def _table(console: Console, document: RecipeList) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Recipes of fine-tuning", title_justify="left", show_lines=True)
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("for")
    table.add_column("settings", no_wrap=True)
    for recipe in document.recipes:
        settings = "\n".join(f"{name} {value}" for name, value in recipe.settings.items())
        table.add_row(recipe.name, escape(recipe.about), escape(settings))
    console.print(table)
