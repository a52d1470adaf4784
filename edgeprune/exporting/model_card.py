"""The model card of a hub folder: what the model is, how well it does, what may be done with it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune.markdown import escape, table_lines
from edgeprune.schema import ArtifactRecord, DataFacts, DGResult, ExportedFile, Made

# Of the options of a step, those that a reader asks for first.
_TOLD = {
    "prune": ("metric", "ratio", "budget", "scope", "dims", "reconstruct"),
    "finetune": ("steps", "epochs", "batch_size", "lr", "distill_weight", "average", "selection"),
}
UNKNOWN = "unknown"


def model_card(
    record: ArtifactRecord, files: Sequence[ExportedFile], title: str, licence: str | None = None
) -> str:
    """Return the card as Markdown with the hub's YAML header.

    Args:
        record: of the model.
        files: exported ones beside it.
        title: name of the model.
        licence: of the weights; None takes the recorded one.
    """
    told = licence or (record.base.licence if record.base else None)
    parts = [
        _header(record, title, told),
        f"# {escape(title)}\n\n{_summary(record)}",
        _accuracy(record.dg) if record.dg else _accuracy_at_export(files),
        _files(files),
        _use(record, files),
        _making(record.made),
        _licence(record, told),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(record: ArtifactRecord, title: str, licence: str | None) -> str:
    """Return the YAML front matter; JSON is YAML, and quotes whatever a name may hold."""
    facts: dict[str, Any] = {
        **_licence_keys(licence),
        "library_name": "edgeprune",
        "pipeline_tag": "image-classification",
        "tags": ["edgeprune", "vision-transformer", "pruning", "domain-generalization", "onnx"],
    }
    if record.base and record.base.origin == "hub" and record.base.name:
        facts["base_model"] = record.base.name
    if record.dg:
        facts["model-index"] = [{"name": title, "results": _results(record.dg)}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items()]
    return "\n".join(["---", *lines, "---"])


def _licence_keys(licence: str | None) -> dict[str, str]:
    if licence is None:
        return {"license": UNKNOWN}
    if re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence.lower()):
        return {"license": licence.lower()}
    slug = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-.")
    return {"license": "other", "license_name": slug, "license_link": "README.md"}


def _results(dg: DGResult) -> list[dict[str, Any]]:
    """Return the accuracy on every domain that was held out, as the hub's model index has it."""
    return [
        {
            "task": {"type": "image-classification"},
            "dataset": {"name": f"{dg.dataset}, unseen domain {domain}", "type": dg.dataset},
            "metrics": [{"type": "accuracy", "value": round(dg.domains[domain].accuracy, 2)}],
        }
        for domain in dg.held_out
        if domain in dg.domains
    ]


def _summary(record: ArtifactRecord) -> str:
    dense, pruned = record.dense, record.pruned
    what = f"`{escape(record.model)}` (timm), {record.num_classes} classes, {record.img_size} px."
    if pruned == dense:
        return f"{what} {pruned.params:,} parameters, {pruned.macs:,} MACs per image; not pruned."
    return (
        f"{what} Pruned with edgeprune to {pruned.params:,} of {dense.params:,} parameters"
        f" ({dense.params / pruned.params:.2f}x fewer) and {pruned.macs:,} of {dense.macs:,} MACs"
        f" per image ({dense.macs / pruned.macs:.2f}x fewer)."
    )


def _accuracy_at_export(files: Sequence[ExportedFile]) -> str:
    """Return PyTorch's accuracy that files were compared with, where the model has no other."""
    scored = [file.parity for file in files if file.parity and file.parity.domains]
    if not scored:
        return "## Accuracy\n\nIt was not scored on any data."
    first = scored[0]
    rows = [
        [
            escape(name),
            "held out" if name == first.target else "source (validation images)",
            f"{found.pytorch:.1f} %",
            f"{found.n:,}",
        ]
        for name, found in sorted(first.domains.items(), key=lambda item: item[0] != first.target)
    ]
    text = "Scored when it was exported, in PyTorch."
    head = ["domain", "", "accuracy", "images"]
    return "\n".join(["## Accuracy", "", text, "", *table_lines(head, rows)])


def _accuracy(dg: DGResult) -> str:
    held_out = set(dg.held_out)
    rows = [
        [
            escape(name),
            "held out of training" if name in held_out else "trained on (validation images)",
            f"{found.accuracy:.1f} %",
            f"{found.ci95[0]:.1f} to {found.ci95[1]:.1f}",
            f"{found.n:,}",
        ]
        for name, found in sorted(dg.domains.items(), key=lambda item: item[0] not in held_out)
    ]
    chosen = {
        "source": "the best step on source validation",
        "last": "the last step",
        "oracle": "the best step on the target itself (oracle: optimistic)",
        None: "no step: nothing was trained",
    }[dg.selection]
    head = ["domain", "", "accuracy", "95 % interval", "images"]
    text = (
        f"Domain generalisation on {escape(dg.dataset)}, split by {dg.split.by}"
        f" (seed {dg.split.seed}). Weights: {chosen}. All sources together"
        f" {dg.source_val_accuracy:.1f} %."
    )
    return "\n".join(["## Accuracy", "", text, "", *table_lines(head, rows)])


def _files(files: Sequence[ExportedFile]) -> str:
    rows = []
    for file in files:
        parity = file.parity
        size = file.bytes + (file.external.bytes if file.external else 0)
        val = parity.source_val if parity else None
        rows.append(
            [
                f"`onnx/{Path(file.path).name}`",
                file.precision,
                f"{size / 1e6:.1f} MB",
                f"{parity.max_abs:.1e}" if parity else "not run",
                f"{parity.top1_agreement:.1f} % of {parity.n}" if parity else "not run",
                f"{val.accuracy:.1f} % (PyTorch {val.pytorch:.1f} %)" if val else "not scored",
            ]
        )
    head = ["file", "precision", "size", "max difference", "top-1 agrees", "source validation"]
    text = "Each was compared with PyTorch on the CPU before it was written."
    return "\n".join(["## Files", "", text, "", *table_lines(head, rows)])


def _use(record: ArtifactRecord, files: Sequence[ExportedFile]) -> str:
    takes = files[0].input if files else "fp32"
    names = ", ".join(escape(name) for name in record.class_names or []) or "not recorded"
    fed = (
        "RGB images of 8 bits, `(batch, height, width, 3)`; they are normalised in the graph"
        if takes == "uint8"
        else f"images `(batch, 3, {record.img_size}, {record.img_size})` in 0 to 1, minus mean"
        f" {list(record.mean)}, by std {list(record.std)}"
    )
    return f"""## Use

```python
import edgeprune

model = edgeprune.load_model("path/to/this/folder")
logits = model.module(images)  # (batch, {record.num_classes})
```

The ONNX files take {fed}, resized to {record.img_size} px ({record.interpolation}). Classes:
{names}."""


def _making(made: Sequence[Made]) -> str:
    if not made:
        return ""
    lines = []
    for number, step in enumerate(made, 1):
        told = {name: step.options.get(name) for name in _TOLD.get(step.command, ())}
        words = [f"{name} {_value(value)}" for name, value in told.items() if value is not None]
        if step.data:
            words.append(_images(step.data))
        text = escape(", ".join([*words, f"seed {step.seed}"]))
        lines.append(f"{number}. {step.command}: {text}")
    versions = ", ".join(f"{name} {version}" for name, version in made[-1].versions.items())
    return "\n".join(["## How it was made", "", *lines, "", f"With {escape(versions)}."])


def _images(data: DataFacts) -> str:
    alone = len(data.sources) == 1
    which = f"domain {data.sources[0]} alone" if alone else f"without {data.target}"
    return f"{data.samples:,} images of {data.dataset}, {which}"


def _value(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _licence(record: ArtifactRecord, licence: str | None) -> str:
    base = record.base
    if base is None:
        origin = "It is not recorded which weights it started from."
    elif base.origin == "random":
        origin = "It started from random weights."
    else:
        source = f": {escape(base.source)}" if base.source else ""
        where = "of the hub" if base.origin == "hub" else "from a file"
        origin = f"It started from weights {where}, {escape(base.name or 'unnamed')}{source}."
    if licence is None:
        told = "Their licence is not recorded; find it out before you pass the model on."
        if base is not None and base.origin == "random":
            told = "No licence was named for it."
    else:
        told = f"Licence: {escape(licence)}."
    return f"## Licence\n\n{origin} {told}"
