"""Options of TensorRT engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.errors import UsageError

if TYPE_CHECKING:
    from edgeprune.engines.settings import EngineSettings

TensorRT = Annotated[
    bool,
    typer.Option(
        "--tensorrt", help="Build a TensorRT engine of each precision, from its ONNX file."
    ),
]
Builder = Annotated[
    str | None,
    typer.Option(
        help="What builds engines: tensorrt, trtexec or tensorrt-rtx. Default: the first that"
        " works here."
    ),
]
Sm = Annotated[
    str | None,
    typer.Option(
        metavar="87",
        help="GPU architecture that engines are for, by compute capability. Default: this"
        " machine's.",
    ),
]
MaxBatch = Annotated[
    int | None, typer.Option(help="Engines take batches of 1 to this many images. Default: 8.")
]
OptBatch = Annotated[
    int | None, typer.Option(help="The batch size that engines are tuned for. Default: 1.")
]
Workspace = Annotated[
    float | None,
    typer.Option(metavar="MB", help="Limit of TensorRT's scratch memory. Default: its own."),
]
TimingCache = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Keeps times of kernels for the next build. Default: in the user's cache directory.",
    ),
]


def settings(
    wanted: bool,
    builder: str | None,
    sm: str | None,
    max_batch: int | None,
    opt_batch: int | None,
    workspace: float | None,
    timing_cache: Path | None,
) -> EngineSettings | None:
    """Return how engines are built; None if none are asked for.

    Raises:
        UsageError: if a value is not accepted, or is given without ``--tensorrt``.
    """
    given = {
        "--builder": builder,
        "--sm": sm,
        "--max-batch": max_batch,
        "--opt-batch": opt_batch,
        "--workspace": workspace,
        "--timing-cache": timing_cache,
    }
    if not wanted:
        alone = [name for name, value in given.items() if value is not None]
        if alone:
            raise UsageError(f"{alone[0]} is about engines; it needs --tensorrt")
        return None
    from edgeprune.engines.settings import EngineSettings

    return EngineSettings(builder, sm, max_batch, opt_batch, workspace, timing_cache)
