"""ViTs of many widths, and how long ONNX Runtime takes for each on one thread of this CPU.

The measured times are the least of many short turns in random order, with what else the machine
does in between; they hold for a quiet machine.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from edgeprune.exporting.onnx import INPUT, export_onnx
from edgeprune.model import DenseOptions, create, random_model
from edgeprune.schema import ArtifactRecord, Width

CLASSES, SEED = 7, 0
DRAWS = 40
BASES = ("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224")
BLOCKS = (2, 3, 4)  # a block of twelve costs what one of three does
# No ViT-B: other programs leave no moment as long as its call undisturbed.
WHOLE = ("vit_tiny_patch16_224", "deit_small_patch16_224")


@dataclass(frozen=True)
class Case:
    """One network: its name in the tables, and the record that it is rebuilt from."""

    name: str
    record: ArtifactRecord
    whole: bool


def cases() -> Iterator[Case]:
    """Yield the drawn networks, then whole ones: dense, and half as wide."""
    draw = random.Random(SEED)
    dense = {name: _record(name) for name in {*BASES, *WHOLE}}
    for index in range(DRAWS):
        base = BASES[index % len(BASES)]
        blocks, step = draw.choice(BLOCKS), draw.choice((1, 8, 32))
        record = _drawn(dense[base], blocks, step, draw)
        yield Case(f"{base.split('_')[1]}-{index:02d}", record, whole=False)
    for name in WHOLE:
        yield Case(name, dense[name], whole=True)
    yield Case("deit_small half", _scaled(dense["deit_small_patch16_224"], 0.5), whole=True)


def export(cases_: Iterable[Case], folder: Path) -> dict[str, Path]:
    """Export each network to ``folder``, unless its file is there already."""
    files = {}
    for case in cases_:
        file = folder / f"{case.name.replace(' ', '-')}.onnx"
        if not file.exists():
            part = file.with_suffix(".part")
            export_onnx(random_model(case.record), part)
            part.rename(file)
        files[case.name] = file
    return files


def measure(files: dict[str, Path], seconds: float, turn_s: float = 0.1) -> dict[str, float]:
    """Return the least milliseconds of a call of each file, all taking turns for ``seconds``."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    images = np.random.default_rng(SEED).standard_normal((1, 3, 224, 224), dtype=np.float32)
    sessions = {
        name: onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        for name, file in files.items()
    }
    least = dict.fromkeys(sessions, float("inf"))
    order, draw, end = list(sessions), random.Random(SEED), time.monotonic() + seconds
    while time.monotonic() < end:
        draw.shuffle(order)
        for name in order:
            session = sessions[name]
            session.run(None, {INPUT: images})  # the one before has filled the caches
            until = time.monotonic() + turn_s
            while True:
                start = time.perf_counter_ns()
                session.run(None, {INPUT: images})
                least[name] = min(least[name], (time.perf_counter_ns() - start) / 1e6)
                if time.monotonic() >= until:
                    break
    return least


def _record(name: str) -> ArtifactRecord:
    return create(name, DenseOptions(num_classes=CLASSES, pretrained=False)).record


def _drawn(dense: ArtifactRecord, blocks: int, step: int, draw: random.Random) -> ArtifactRecord:
    """Return a record of random widths, each layer by itself, in steps of ``step``."""
    shares = {dim: draw.uniform(0.25, 1.0) for dim in ("embed", "mlp", "heads", "head_dim")}
    thin_heads = draw.random() < 0.4
    widths = []
    for width in dense.widths:
        place = width.name.split(".")
        if place[0] == "blocks" and int(place[1]) >= blocks:
            continue
        spread = 1.0 if width.dim == "embed" else draw.uniform(0.7, 1.3)
        share = min(1.0, shares[width.dim] * spread)
        if width.dim == "head_dim":
            share = share if thin_heads else 1.0
        grid = 1 if width.dim == "heads" else min(step, 8) if width.dim == "head_dim" else step
        kept = max(grid, round(width.width * share / grid) * grid)
        widths.append(Width(name=width.name, dim=width.dim, width=min(kept, width.width)))
    return dense.model_copy(update={"widths": widths})


def _scaled(dense: ArtifactRecord, share: float) -> ArtifactRecord:
    widths = [
        width
        if width.dim == "head_dim"
        else Width(name=width.name, dim=width.dim, width=int(width.width * share))
        for width in dense.widths
    ]
    return dense.model_copy(update={"widths": widths})
