"""Writing what a benchmark found: JSON for programs, Markdown for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeprune.environment import available_cores, cpu_name, version_of

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    packages = ("torch", "timm", "torch-pruning", "onnxruntime")
    return {
        "cpu": cpu_name(),
        "cores": available_cores(),
        **{package: version_of(package) for package in packages},
    }


def write(result: dict[str, Any], stem: str) -> None:
    """Write ``results/<stem>.json`` and ``.md``."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{stem}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (RESULTS / f"{stem}.md").write_text(markdown(result), encoding="utf-8")


def markdown(result: dict[str, Any]) -> str:
    """Return a title, the machine, and the rows as a table."""
    rows: list[dict[str, Any]] = result["rows"]
    header = list(rows[0])
    lines = [f"# {result['name']}", "", ", ".join(f"{k} {v}" for k, v in result["machine"].items())]
    lines += ["", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(_cell(row[key]) for key in header) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return " to ".join(_cell(part) for part in value)
    return str(value)
