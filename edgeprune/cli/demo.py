"""``edgeprune demo``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import app, options
from edgeprune.cli.render import plain, quiet_stdout, show

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.demo import DemoResult


@app.command("demo")
def command(
    output: options.Output,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few steps of everything, to see that it works.")
    ] = False,
    seed: options.Seed = 0,
    force: options.Force = False,
    json_: options.Json = False,
) -> None:
    """Run the whole way on emoji, ending in a report.

    Fine-tunes a pre-trained ViT-S on six drawing styles, prunes half of every width, fine-tunes
    again, scores on the seventh style, exports, measures. A second run with the same output goes
    on where the first stopped.
    """
    with quiet_stdout():
        from edgeprune.demo import demo
        from edgeprune.progress import TerminalProgress

        result = demo(output, quick=quick, seed=seed, force=force, progress=TerminalProgress())
    show(result, json_, lambda console: _lines(console, result))


def _lines(console: Console, result: DemoResult) -> None:
    if result.quick:
        console.print("[yellow]quick run: the accuracies mean nothing[/]")
    low, high = result.speedup_ci95
    console.print(
        f"Half of every width removed: {result.speedup:.2f}x faster ({low:.2f} to {high:.2f}),"
        f" {result.macs_ratio:.2f}x fewer MACs; {result.pruned_accuracy:.1f} % on"
        f" {result.target} (unseen) against {result.dense_accuracy:.1f} % dense.",
        highlight=False,
        soft_wrap=True,
    )
    console.print(plain(f"Report: {result.report}"), soft_wrap=True)
