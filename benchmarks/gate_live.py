"""The gate as a detector on this very machine, while another process keeps one core busy.

``edgeprune check --against`` as a CI job runs it: a model against a copy of itself, which must not
fail, and against one with thinner MLPs, so that the model is truly slower by about 15 %. How much
slower is measured by the checks themselves. Checks of both kinds take turns.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.record import machine

DENSE = ("vit_tiny_patch16_224", "--no-pretrained", "--img-size", "96")
# MLPs are most of the time of a call: a quarter less of them makes it about 1.15 times as fast.
THINNER = ("--dims", "mlp", "--ratio", "0.25", "--metric", "l1", "--no-reconstruct")
LIMIT = "10%"
CHECKS = 30
EDGEPRUNE = [sys.executable, "-m", "edgeprune"]
BUSY = "while True: sum(i * i for i in range(100_000))"


def run(checks: int = CHECKS) -> dict[str, Any]:
    """Check ``checks`` times against a copy and against a thinner model."""
    with tempfile.TemporaryDirectory() as folder, _busy_process():
        root = Path(folder)
        pruned = root / "pruned"
        _edgeprune("prune", *DENSE, *THINNER, "-o", str(pruned))
        thinner = _exported(root / "thinner", str(pruned))
        model = _exported(root / "dense", *DENSE)
        copy = Path(shutil.copy(model, root / "copy.onnx"))
        result = root / "bench.json"
        _edgeprune("bench", str(model), "--threads", "1", "--min-time", "1", "-o", str(result))
        found: dict[str, list[dict[str, Any]]] = {"a copy": [], "15 % slower": []}
        for _ in range(checks):
            for name, against in (("a copy", copy), ("15 % slower", thinner)):
                finding = _check(result, against)
                found[name].append(finding)
                print(name, finding["verdict"], finding["ratio"], file=sys.stderr, flush=True)
    rows = [{"against": name, **_count(findings)} for name, findings in found.items()]
    return {"name": "the gate beside a busy process", "machine": machine(), "rows": rows}


def _count(findings: list[dict[str, Any]]) -> dict[str, Any]:
    verdicts = Counter(finding["verdict"] for finding in findings)
    ratios = [finding["ratio"] for finding in findings]
    return {
        "checks": len(findings),
        "limit": LIMIT,
        **{verdict: verdicts[verdict] for verdict in ("passed", "failed", "inconclusive")},
        "median ratio": statistics.median(ratios),
        "ratios": [min(ratios), max(ratios)],
    }


def _check(result: Path, against: Path) -> dict[str, Any]:
    """Return the finding on the median latency."""
    text = _edgeprune(
        "check", str(result), "--against", str(against), "--max-regression", LIMIT, "--json"
    )
    (finding,) = [row for row in json.loads(text)["findings"] if row["ratio"] is not None]
    return dict(finding)


def _exported(output: Path, *model: str) -> Path:
    _edgeprune("export", *model, "--onnx", "-o", str(output))
    return output / "model.onnx"


def _edgeprune(*arguments: str) -> str:
    """Return what the command prints; a check that fails ends with 1, anything else is an error."""
    done = subprocess.run(
        [*EDGEPRUNE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    if done.returncode not in (0, 1):
        done.check_returncode()
    return done.stdout


@contextmanager
def _busy_process() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", BUSY]) as busy:
        try:
            yield
        finally:
            busy.kill()
