"""Tables with names from files in them: brackets are no markup, escapes steer no terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from edgeprune.cli.evaluate import accuracy_table
from edgeprune.cli.export import _tables
from edgeprune.cli.finetune import _table as finetune_table
from edgeprune.cli.prune_table import table as prune_table

EVIL = "[b]x[/y]\x1b[1m"
SHOWN = "[b]x[/y]\N{REPLACEMENT CHARACTER}[1m"


def domain() -> Any:
    return SimpleNamespace(accuracy=90.0, ci95=(80.0, 95.0), n=10)


def scores() -> Any:
    return SimpleNamespace(
        dataset=EVIL,
        split=SimpleNamespace(by="group"),
        selection="source",
        domains={EVIL: domain(), f"{EVIL}2": domain()},
        held_out=[EVIL],
        class_accuracy={EVIL: 50.0},
        balanced_accuracy=50.0,
        calibration_error=None,
        worst_domain=None,
        target=EVIL,
    )


def pruned(console: Console) -> None:
    cost = SimpleNamespace(params=4, macs=4)
    seconds = SimpleNamespace(total=1.0, score=1.0)
    result: Any = SimpleNamespace(
        model=EVIL, ratio=0.5, budget="macs", metric="l1", dense=cost, pruned=cost, layers=[],
        latency=None, warnings=[EVIL], seconds=seconds, artifact=EVIL,
    )  # fmt: skip
    prune_table(console, result)


def exported(console: Console) -> None:
    kept = [SimpleNamespace(name=EVIL, reason=EVIL, harm=None)]
    file: Any = SimpleNamespace(
        path=f"{EVIL}.onnx", parity=None, bytes=1, external=None, precision="fp32", opset=17,
        engine=None, kept=kept,
    )  # fmt: skip
    result: Any = SimpleNamespace(model=EVIL, seconds=1.0, files=[file], warnings=[EVIL])
    _tables(console, result, EVIL)  # type: ignore[arg-type]


def finetuned(console: Console) -> None:
    seconds = SimpleNamespace(total=1.0, train=1.0, evaluate=1.0)
    result: Any = SimpleNamespace(
        model=EVIL, steps=1, dg=scores(), history=[], averaged_steps=None, best_step=1,
        seconds=seconds, artifact=EVIL,
    )  # fmt: skip
    finetune_table(console, result)


@pytest.mark.parametrize(
    ("draw", "times"),
    [
        (lambda console: console.print(accuracy_table(EVIL, scores())), 4),
        (pruned, 3),
        (exported, 5),
        (finetuned, 7),
    ],
    ids=["evaluate", "prune", "export", "finetune"],
)
def test_names_are_shown_as_they_are(draw: Callable[[Console], None], times: int) -> None:
    written = io.StringIO()
    draw(Console(file=written, width=300))
    assert "\x1b" not in written.getvalue()
    assert written.getvalue().count(SHOWN) == times
