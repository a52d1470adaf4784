"""Stores as a sweep leaves them, without training anything: what a report on a sweep reads."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import report_runs as runs

from edgeprune.schema import (
    Cost,
    DGResult,
    DomainAccuracy,
    FinetuneSeconds,
    HistoryPoint,
    MachineFacts,
)
from edgeprune.sweeping.results import TrialKey, TrialResult, TrialSeconds
from edgeprune.sweeping.store import STORE_FILE, Store

TARGETS = ("art_painting", "cartoon", "photo", "sketch")
MACHINE = MachineFacts(cpu="Example CPU @ 2.50 GHz", cores=2)
DENSE = Cost(params=21_700_000, macs=1_100_000_000)


def key(
    metric: str | None = None,
    ratio: float | None = None,
    *,
    model: str = "ViT-S",
    target: str = "art_painting",
    seed: int = 0,
    **changes: Any,
) -> TrialKey:
    facts: dict[str, Any] = {
        "kind": "dense" if metric is None else "pruned",
        "model": model,
        "timm_name": "vit_small_patch16_224",
        "data": "PACS",
        "target": target,
        "seed": seed,
        "metric": metric,
        "ratio": ratio,
        "budget": None if metric is None else "channels",
        "scope": None if metric is None else "global",
    }
    return TrialKey(**{**facts, **changes})


def identity(key: TrialKey) -> str:
    return hashlib.sha256(key.model_dump_json().encode()).hexdigest()[:12]


def scored(key: TrialKey, accuracy: float, source_val: float) -> DGResult:
    found = DomainAccuracy(accuracy=accuracy, n=400, ci95=runs.wilson(accuracy, 400))
    return DGResult(
        dataset="PACS",
        target=key.target,
        split=runs.SPLIT.model_copy(update={"by": "file", "seed": key.seed}),
        target_accuracy=accuracy,
        source_val_accuracy=source_val,
        domains={key.target: found},
    )


def result(key: TrialKey, accuracy: float = 80.0, **changes: Any) -> TrialResult:
    keep = 1 - (key.ratio or 0.0)
    steps = 400 if key.ratio else 300
    facts: dict[str, Any] = {
        "id": identity(key),
        "key": key,
        "artifact": f"trials/{identity(key)}/model",
        "fingerprint": hashlib.sha256(identity(key).encode()).hexdigest(),
        "dense": DENSE,
        "pruned": Cost(
            params=int(DENSE.params * keep**2),
            macs=int(DENSE.macs * keep**1.9) + 1_000_000 * key.seed,
        ),
        "dg": scored(key, accuracy, min(99.0, accuracy + 12)),
        "drop": None,
        "untuned": scored(key, accuracy / 2, accuracy / 2) if key.ratio else None,
        "steps": steps,
        "best_step": steps,
        "history": [
            HistoryPoint(
                step=step, loss=2 - step / 400, source_val=accuracy + 12 - (400 - step) / 20
            )
            for step in range(0, steps + 1, 50)
        ],
        "seconds": TrialSeconds(
            prune=12.5 if key.ratio else None,
            finetune=FinetuneSeconds(
                train=200.0 * keep + 40 + key.seed, evaluate=20.0, total=260.0 * keep + 60
            ),
            total=300.0,
        ),
        "threads": 1,
        "machine": MACHINE,
        "versions": runs.VERSIONS,
    }
    return TrialResult(**{**facts, **changes})


def grid(
    models: Iterable[str] = ("ViT-S", "DeiT-S"),
    metrics: Iterable[str] = ("hessian", "dg_min"),
    ratios: Iterable[float] = (0.5, 0.75, 0.95),
    targets: Iterable[str] = TARGETS,
    seeds: Iterable[int] = (0, 1, 2),
) -> list[TrialKey]:
    ways = [(None, None), *((metric, ratio) for ratio in ratios for metric in metrics)]
    return [
        key(*way, model=model, target=target, seed=seed)
        for model in models
        for way in ways
        for target in targets
        for seed in seeds
    ]


def plausible(key: TrialKey) -> float:
    draw = random.Random(identity(key))
    level = {"art_painting": 84.0, "cartoon": 78.0, "photo": 96.0, "sketch": 70.0}
    loss = {None: 0.0, 0.5: 2.6, 0.75: 9.0, 0.95: 33.0}[key.ratio]
    better = 0.8 if key.metric == "dg_min" else 0.0
    taken = 1.2 if key.model == "DeiT-S" else 0.0
    return level.get(key.target, 75.0) - loss + better - taken + draw.gauss(0, 0.7)


def write_store(
    root: Path,
    keys: Iterable[TrialKey],
    *,
    accuracy: Callable[[TrialKey], float] = plausible,
    states: Callable[[TrialKey], str] = lambda key: "done",
    name: str = "PACS, small models",
) -> Path:
    """Write a store below ``root``; a failed trial has an error that needs escaping."""
    root.mkdir(parents=True, exist_ok=True)
    store = Store(root / STORE_FILE)
    planned = list(keys)
    store.plan([(identity(key), key) for key in planned], name)
    for each in planned:
        state = states(each)
        if state == "done":
            store.finish(result(each, accuracy(each)))
        elif state == "failed":
            store.mark(identity(each), "failed", "loss is nan_at step 40 (100 % of <runs> & more)")
        elif state == "running":
            store.mark(identity(each), "running")
    store.close()
    return root


def add_timings(root: Path, keys: Iterable[TrialKey], batches: Iterable[int] = (1,)) -> None:
    """Time seed 0 on the first target of every row, against the dense one."""
    store = Store(root / STORE_FILE)
    planned = [k for k in keys if k.seed == 0 and k.target == TARGETS[0]]
    for model in dict.fromkeys(k.model for k in planned):
        measured, compared = [], []
        for batch in batches:
            for each in [k for k in planned if k.model == model]:
                gain = {None: 1.0, 0.5: 3.2, 0.75: 8.1, 0.95: 14.0}[each.ratio]
                gain *= {"dg_min": 1.03, "hessian": 1.0, None: 1.0}[each.metric]
                label = f"{each.metric or 'dense'}-{each.ratio or 0}"
                found = runs.measurement(
                    label, 40.0 / gain, batch=batch, fingerprint=result(each).fingerprint
                )
                measured.append(found)
                if each.kind == "pruned":
                    compared.append(runs.comparison(label, "dense-0", gain, batch=batch))
        store.add_bench(model, runs.bench(measured, compared))
    store.close()


def full_sweep(root: Path) -> Path:
    keys = grid()
    write_store(root, keys)
    add_timings(root, keys)
    return root
