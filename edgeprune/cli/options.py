"""Options that several commands share, so that they read and behave alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from edgeprune.model import DenseOptions

Json = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout; all else goes to stderr.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that is not empty.")]
# What numpy's and torch's generators all take, also where several numbers are made of one seed.
Seed = Annotated[
    int, typer.Option("--seed", min=0, max=2**32 - 1, help="Makes the run repeatable.")
]
_OUTPUT = typer.Option("--output", "-o", metavar="DIR", help="Output directory; new or empty.")
Output = Annotated[Path, _OUTPUT]
OptionalOutput = Annotated[Path | None, _OUTPUT]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="ROOT", help="ROOT/DOMAIN/CLASS/IMAGE, or the embedded set 'emoji'."
    ),
]
Target = Annotated[
    str | None, typer.Option("--target", metavar="DOMAIN", help="The domain that is held out.")
]
Source = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="DOMAIN",
        help="Instead of a target: the only domain to train on; all others are held out.",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="Divide by 'file' (DomainBed) or by 'group' (a drawing never on both sides);"
        " default: group for emoji, else file.",
    ),
]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A timm model name or an artifact directory.")
]
NumClasses = Annotated[
    int | None, typer.Option("--num-classes", min=1, help="Classes of a dense timm model.")
]
ImgSize = Annotated[
    int | None, typer.Option("--img-size", min=1, help="Image size of a dense timm model.")
]
Pretrained = Annotated[
    bool,
    typer.Option(
        "--pretrained/--no-pretrained", help="Start a dense timm model from its hub weights."
    ),
]
# Where a model is only timed.
PretrainedForSpeed = Annotated[
    bool,
    typer.Option(
        "--pretrained/--no-pretrained",
        help="Weights of dense timm models: from the hub, or random. Speed does not depend on"
        " them.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="Weights of a dense model, safetensors."),
]


# How a dense timm model is made; they do nothing where there is none.
ABOUT_DENSE = ("num_classes", "img_size", "pretrained", "weights")


def dense_if_asked(
    num_classes: int | None,
    img_size: int | None,
    pretrained: bool,
    weights: Path | None,
    seed: int,
) -> DenseOptions | None:
    """Return how dense models are made where models are only timed; None if nothing was asked.

    Without it no command that takes ready files has to load torch.
    """
    if (num_classes, img_size, pretrained, weights) == (None, None, False, None):
        return None
    from edgeprune.model import DenseOptions

    return DenseOptions(num_classes, img_size, pretrained, weights, seed)


def given(context: typer.Context, names: tuple[str, ...]) -> list[str]:
    """Return those of the parameters that were given on the command line, as they are written."""
    return [str(param.opts[0]) for param in _given(context, names)]


def written(context: typer.Context, names: tuple[str, ...]) -> list[str]:
    """Return those that were given on the command line, with their values: ``--img-size 96``."""
    return [_written(param, context.params[param.name]) for param in _given(context, names)]


def _given(context: typer.Context, names: tuple[str, ...]) -> list[Any]:
    params = {param.name: param for param in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in names}
    return [
        params[name]
        for name, source in sources.items()
        if source is not None and source.name == "COMMANDLINE"
    ]


def _written(param: Any, value: object) -> str:
    if isinstance(value, bool):
        return str(param.opts[0] if value else param.secondary_opts[0])
    return f"{param.opts[0]} {value}"
