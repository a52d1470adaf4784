"""Plausible artifact records and bench results, without weights: what a report reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune.schema import (
    ArtifactRecord,
    BenchResult,
    Comparison,
    Cost,
    DataFacts,
    DGResult,
    DomainAccuracy,
    Latency,
    Made,
    MeasuredLayer,
    Measurement,
    Memory,
    PerLayer,
    SplitFacts,
    Width,
)

DOMAINS = ("apple", "facebook", "google", "joypixels", "microsoft", "samsung", "twitter")
SPLIT = SplitFacts(by="group", seed=0, holdout=0.2)
LAYERS = ("embedding", "blocks.0", "blocks.0.attn", "blocks.1.attn", "head", "other")
VERSIONS = {"python": "3.11.2", "edgeprune": "0.1.0", "torch": "2.14.1", "timm": "1.0.31"}


def wilson(accuracy: float, n: int) -> tuple[float, float]:
    p, z = accuracy / 100, 1.96
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return 100 * (middle - reach), 100 * (middle + reach)


def dg(accuracy: float, *, target: str = "microsoft", n: int = 143) -> DGResult:
    domains = {
        name: DomainAccuracy(accuracy=value, n=n, ci95=wilson(value, n))
        for index, name in enumerate(DOMAINS)
        for value in [accuracy if name == target else min(99.0, accuracy + 12 + index)]
    }
    return DGResult(
        dataset="emoji",
        target=target,
        split=SPLIT,
        target_accuracy=accuracy,
        source_val_accuracy=min(98.0, accuracy + 13.4),
        domains=domains,
    )


def widths(depth: int, embed: int, heads: int, mlp: int) -> list[Width]:
    found = [Width(name="embed", dim="embed", width=embed)]
    for block in range(depth):
        found += [
            Width(name=f"blocks.{block}.attn", dim="heads", width=max(1, heads - block % 2)),
            Width(name=f"blocks.{block}.attn", dim="head_dim", width=64),
            Width(name=f"blocks.{block}.mlp", dim="mlp", width=mlp),
        ]
    return found


def record(
    *,
    ratio: float = 0.0,
    accuracy: float | None = 58.7,
    model: str = "vit_small_patch14_dinov2",
    family: str = "vit",
    metric: str = "hessian",
    target: str = "microsoft",
    **changes: Any,
) -> ArtifactRecord:
    keep = 1 - ratio
    made = [Made(command="finetune", options={"steps": 150, "lr": 3e-5}, seed=0, versions=VERSIONS)]
    if ratio:
        options = {"metric": metric, "ratio": ratio, "budget": "channels", "dims": ["embed", "mlp"]}
        data = DataFacts(
            dataset="emoji", fingerprint="5f0c" * 16, target=target, split=SPLIT, samples=256
        )
        made.append(Made(command="prune", options=options, seed=0, data=data, versions=VERSIONS))
    facts: dict[str, Any] = {
        "model": model,
        "family": family,
        "num_classes": 8,
        "img_size": 98,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "interpolation": "bicubic",
        "widths": widths(12, int(384 * keep), max(1, round(6 * keep)), int(1536 * keep)),
        "weights_sha256": hashlib.sha256(f"{model} {ratio} {metric}".encode()).hexdigest(),
        "made": made,
        "dense": Cost(params=22_056_000, macs=1_105_000_000),
        "pruned": Cost(params=int(22_056_000 * keep**2), macs=int(1_105_000_000 * keep**1.9)),
        "dg": dg(accuracy, target=target) if accuracy is not None else None,
    }
    return ArtifactRecord(**{**facts, **changes})


def write_artifact(path: Path, artifact: ArtifactRecord | None = None, **facts: Any) -> Path:
    path.mkdir(parents=True)
    text = (artifact or record(**facts)).to_json()
    (path / "edgeprune.json").write_text(text, encoding="utf-8")
    return path


def measurement(model: str, p50: float, **changes: Any) -> Measurement:
    latency = Latency(
        min=p50 * 0.97,
        p50=p50,
        p90=p50 * 1.02,
        p95=p50 * 1.03,
        p99=p50 * 1.06,
        mean=p50 * 1.005,
        std=p50 * 0.01,
        ci95=(p50 * 0.995, p50 * 1.005),
    )
    facts: dict[str, Any] = {
        "model": model,
        "artifact": None,
        "file": None,
        "runtime": "onnxruntime",
        "device": "cpu",
        "precision": "fp32",
        "batch": 1,
        "threads": 1,
        "latency_ms": latency,
        "throughput_ips": 1000 / p50,
        "memory_mb": Memory(weights=88.2, peak_rss=214.0, device_peak=None),
        "energy_mj": None,
        "samples": 120,
        "estimated": False,
    }
    return Measurement(**{**facts, **changes})


def per_layer(times: Sequence[float], energy: float | None = None) -> PerLayer:
    """The first of LAYERS, which take so many ms."""
    total = sum(times)
    layers = [
        MeasuredLayer(
            name=name,
            latency_ms=time,
            share=time / total,
            operators=3,
            parameter_bytes=302_208,
            activation_bytes=768,
            energy_by_time_mj=energy * time / total if energy else None,
        )
        for name, time in zip(LAYERS, times, strict=False)
    ]
    return PerLayer(
        calls=9, profiled_call_ms=1.2 * total, operators_ms=total, noting_ms=0.002, layers=layers
    )


def comparison(model: str, baseline: str, speedup: float, **changes: Any) -> Comparison:
    facts = {
        "model": model,
        "baseline": baseline,
        "batch": 1,
        "speedup": speedup,
        "ci95": (speedup * 0.97, speedup * 1.03),
    }
    return Comparison(**{**facts, **changes})


def bench(measurements: list[Measurement], comparisons: list[Comparison]) -> BenchResult:
    environment = {
        "cpu": {"name": "Example CPU @ 2.50 GHz", "cores": 2, "governor": "performance"},
        "system": "Linux 6.1",
        "python": "3.11.2",
        "packages": {"torch": "2.14.1", "onnxruntime": "1.32.0"},
        "load": 0.12,
    }
    return BenchResult(
        environment=environment, measurements=measurements, comparisons=comparisons, warnings=[]
    )


def write_bench(path: Path, result: BenchResult) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(result.to_json(), encoding="utf-8")
    return path


def demo_runs(root: Path) -> Path:
    """Dense and pruned 50 %, as the demo leaves them."""
    dense, pruned = record(), record(ratio=0.5, accuracy=55.6)
    write_artifact(root / "dense", dense)
    write_artifact(root / "pruned", pruned)
    files = [
        measurement("dense", 41.3, file="d.onnx", fingerprint=dense.weights_sha256),
        measurement("pruned", 14.2, file="p.onnx", fingerprint=pruned.weights_sha256),
    ]
    write_bench(root / "bench.json", bench(files, [comparison("pruned", "dense", 2.91)]))
    return root


def sweep_runs(root: Path) -> Path:
    """Three families, each dense and at three ratios, measured in one bench each."""
    names = {"vit": 81.2, "deit": 79.4, "beit": 84.0}
    for family, top in names.items():
        dense = f"{family}-dense"
        model = f"{family}_base_patch16_224"
        write_artifact(root / dense, model=model, family=family, accuracy=top)
        measured, compared = [measurement(dense, 430.0)], []
        for ratio, speed, loss in ((0.5, 3.5, 2.9), (0.75, 9.0, 8.8), (0.95, 14.6, 31.0)):
            name = f"{family}-{int(100 * ratio)}"
            speed *= {"vit": 1.0, "deit": 1.02, "beit": 0.93}[family]
            write_artifact(
                root / name, model=model, family=family, ratio=ratio, accuracy=top - loss
            )
            measured.append(measurement(name, 430.0 / speed))
            compared.append(comparison(name, dense, speed))
        write_bench(root / f"bench-{family}" / "bench.json", bench(measured, compared))
    return root
