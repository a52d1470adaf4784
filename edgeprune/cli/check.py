"""``edgeprune check``: the gate of continuous integration."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgeprune.cli import app, options
from edgeprune.cli.render import quiet_stdout, show, warn
from edgeprune.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.schema import CheckResult

NOT_HELD = 1
# What does nothing where only two files are compared.
ABOUT_MEASURING = ("min_time", "max_time", *options.ABOUT_DENSE)
STYLES = {"passed": "green", "failed": "bold red", "inconclusive": "yellow"}


@app.command("check")
def check_command(
    context: typer.Context,
    bench: Annotated[
        Path, typer.Argument(metavar="BENCH.json", help="Written by bench -o BENCH.json.")
    ],
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="BASE.json",
            help="An earlier result of the same machine. Default: the baseline inside BENCH.json.",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL_OR_FILE",
            help="Measure it and the model of BENCH.json now, interleaved: for machines that are"
            " shared, or are not the same every time.",
        ),
    ] = None,
    max_regression: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[METRIC:]P%",
            help="Most that latency may grow: 10%, median:5%, p90:, p95: or p99:15%; repeatable."
            " Default with a baseline: 10% of the median.",
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(metavar="X", help="Least percent on the domain that was held out."),
    ] = None,
    max_accuracy_drop: Annotated[
        float | None, typer.Option(metavar="X", help="Most points below the baseline.")
    ] = None,
    max_size_growth: Annotated[
        str | None, typer.Option(metavar="P%", help="Most that the weights may grow.")
    ] = None,
    max_memory_growth: Annotated[
        str | None, typer.Option(metavar="P%", help="Most that the peak memory may grow.")
    ] = None,
    evals: Annotated[
        list[Path] | None,
        typer.Option(
            "--eval",
            metavar="EVAL.json",
            help="Accuracies, from eval --json; repeatable. Default: those of the artifacts.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Check this model of BENCH.json alone.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="What is inconclusive fails too (exit code 1).")
    ] = False,
    min_time: Annotated[
        float,
        typer.Option(metavar="S", help="With --against: seconds of timed calls per model."),
    ] = 5.0,
    max_time: Annotated[
        float,
        typer.Option(
            metavar="S", help="What is inconclusive is measured again, twice as long, up to this."
        ),
    ] = 20.0,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write JUnit XML.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a Markdown summary.")
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help="Also add a line to this file; 'edgeprune report FILE.jsonl' plots it.",
        ),
    ] = None,
    commit: Annotated[
        str | None,
        typer.Option(
            metavar="SHA", help="What is checked, for --history. Default: as CI or git says."
        ),
    ] = None,
    num_classes: options.NumClasses = None,
    img_size: options.ImgSize = None,
    pretrained: options.PretrainedForSpeed = False,
    weights: options.Weights = None,
    seed: options.Seed = 0,
    json_: options.Json = False,
) -> None:
    """Fail if a model became slower, larger or less accurate than is accepted.

    A latency fails only if the whole 95 % interval of its ratio lies beyond the limit. Where the
    interval straddles it, the finding is inconclusive and says what would settle it.

    Exit codes: 0 nothing failed, 1 something did (with --strict also what is inconclusive), 2 bad
    input or results of different machines, 3 a device is not here.
    """
    from edgeprune.files import check_apart, check_output_file
    from edgeprune.gate.history import check_history
    from edgeprune.gate.limits import Limits
    from edgeprune.gate.outputs import github_annotations
    from edgeprune.gate.outputs import junit as as_junit
    from edgeprune.gate.outputs import markdown as as_markdown
    from edgeprune.gate.wording import sentence

    limits = Limits.parse(
        max_regression=max_regression or (),
        min_accuracy=min_accuracy,
        max_accuracy_drop=max_accuracy_drop,
        max_size_growth=max_size_growth,
        max_memory_growth=max_memory_growth,
    )
    if against is None and (given := options.written(context, ABOUT_MEASURING)):
        raise UsageError(f"{given[0]} is for measuring anew; it needs --against MODEL_OR_FILE")
    if history is None and (given := options.written(context, ("commit",))):
        raise UsageError(f"{given[0]} is for the history; it needs --history FILE.jsonl")
    outputs = [(path, form) for path, form in ((junit, as_junit), (markdown, as_markdown)) if path]
    for path, _ in outputs:
        check_output_file(path)
    check_apart([junit, markdown, history], [bench, baseline, against, weights, *(evals or [])])
    if history:
        check_history(history)
    with quiet_stdout():
        from edgeprune.gate import check
        from edgeprune.progress import TerminalProgress

        dense = options.dense_if_asked(num_classes, img_size, pretrained, weights, seed)
        result = check(
            bench,
            baseline=baseline,
            against=against,
            limits=limits,
            evals=evals or (),
            strict=strict,
            model=model,
            dense=dense,
            min_time_s=min_time,
            max_time_s=max_time,
            seed=seed,
            progress=TerminalProgress(live=False),
        )
        _write([(path, form(result)) for path, form in outputs], history, result, commit)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        # On stderr, where GitHub reads them too: stdout holds the result alone.
        for line in github_annotations(result):
            print(line, file=sys.stderr)
    if json_:
        unsettled = [row for row in result.findings if row.verdict == "inconclusive"]
        warn(f"inconclusive: {sentence(finding)}" for finding in unsettled)
    show(result, json_, lambda console: _table(console, result))
    if not result.passed:
        raise typer.Exit(NOT_HELD)


def _write(
    texts: Sequence[tuple[Path, str]], history: Path | None, result: CheckResult, commit: str | None
) -> None:
    """Write all outputs, or none of them."""
    from edgeprune.files import output_file
    from edgeprune.gate.history import append

    # Files get their names at the end: a history that cannot be written leaves none of them.
    with ExitStack() as stack:
        for path, text in texts:
            stack.enter_context(output_file(path)).write_text(text, encoding="utf-8")
        if history:
            append(history, result, commit)


def _table(console: Console, result: CheckResult) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from edgeprune.gate.wording import headline, sentence, table

    shown = table(result.findings)
    drawn = Table(
        title=shown.title or None, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    # The model stands above its metrics instead of beside them: a terminal is narrow.
    ahead = shown.header.index("metric")
    drawn.add_column("model", overflow="fold")
    for name in shown.header[ahead + 1 :]:
        side: Literal["left", "right"] = "left" if name == "verdict" else "right"
        drawn.add_column(Text(name), justify=side, no_wrap=True)
    above: tuple[str, ...] = ()
    for row in shown.rows:
        if row[:ahead] != above:
            above = row[:ahead]
            drawn.add_row(Text(", ".join(part for part in above if part)))
        *others, verdict = row[ahead + 1 :]
        drawn.add_row(Text(f"  {row[ahead]}"), *map(Text, others), Text(verdict, STYLES[verdict]))
    console.print(drawn)
    for finding in result.findings:
        if finding.note:
            line = f"{finding.verdict}: {sentence(finding)}"
            console.print(Text(line, STYLES[finding.verdict]))
    for warning in result.warnings:
        console.print(Text(f"warning: {warning}", "yellow"))
    console.print(Text(headline(result), "bold"))
