"""How wrong estimates are for a Jetson board whose latencies the fit has not seen.

Fits the roofline to the published latencies in fp16, leaving out one board at a time, and writes
the calibration that edgeprune ships. Latencies in fp32 test it and are never fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import timm
import torch
import torchvision

from benchmarks.record import machine
from benchmarks.roofline_fit import Latency, errors, estimate_ms, fit, left_out, write
from edgeprune.devices import load_profile
from edgeprune.estimating.calibration import Calibration
from edgeprune.estimating.layers import trace
from edgeprune.estimating.published import Published, published
from edgeprune.estimating.roofline import Coefficients, Columns, columns, rates

TILE = (32, 32, 16)
GUESS = {
    "product": 0.5,
    "convolution": 0.6,
    "grouped": 0.05,
    "product-plain": 0.6,
    "convolution-plain": 0.8,
    "stream": 0.6,
    "small": 4.0,
    "launch_cycles": 5000.0,
}
TRANSFORMERS = ("efficientformer", "efficientvit", "vit_", "deit", "beit", "swin")


def run() -> dict[str, Any]:
    """Return one row per board, and one each for transformers and for fp32."""
    used = [entry for entry in published() if entry.calibrates]
    cases = [case_of(entry) for entry in used]
    estimates = left_out(cases, GUESS, build)
    coefficients = build(fit(cases, GUESS, build))
    write(calibration(used, coefficients, estimates))
    rows = [
        row(device, [pair for pair in estimates if pair[0].group == device])
        for device in dict.fromkeys(case.group for case in cases)
    ]
    rows.append(row("all boards", estimates))
    attentive = [pair for pair in estimates if is_transformer(pair[0].name)]
    rows.append(row("all boards, networks with attention only", attentive))
    single = [e for e in published() if e.network and e.precision == "fp32"]
    rows.append(
        row("fp32, never fitted", [(c, estimate_ms(c, coefficients)) for c in map(case_of, single)])
    )
    return {"name": "estimates for Jetson boards left out", "machine": machine(), "rows": rows}


def case_of(entry: Published) -> Latency:
    """Turn a published latency into one to fit."""
    return Latency(
        name=entry.network,
        group=entry.device,
        setting=(entry.device, entry.source, entry.precision, entry.batch),
        work=work_of(entry.network, entry.img_size, entry.batch),
        device=rates(load_profile(entry.device), entry.precision),
        ms=entry.latency_ms,
    )


@cache
def work_of(network: str, img_size: int, batch: int) -> Columns:
    """Trace a network of timm or torchvision."""
    library, _, name = network.partition(":")
    with torch.device("meta"):
        module = (
            torchvision.models.get_model(name)
            if library == "torchvision"
            else timm.create_model(name)
        )
    return columns(trace(module, img_size, batch))


def build(values: Mapping[str, float]) -> Coefficients:
    """Make coefficients of what is fitted; products of attention are as fast as others."""
    names = ("product", "convolution", "grouped", "product-plain", "convolution-plain")
    efficiency = {name: values[name] for name in names}
    efficiency |= {"attention": values["product"], "attention-plain": values["product-plain"]}
    return Coefficients(
        tile=TILE,
        efficiency=efficiency,
        stream={"other": values["stream"]},
        small=values["small"],
        launch_cycles=values["launch_cycles"],
        fuses=True,
    )


def calibration(
    used: list[Published], found: Coefficients, estimates: list[tuple[Latency, float]]
) -> Calibration:
    profiles = [load_profile(name) for name in {entry.device for entry in used}]
    macs = [_macs(work_of(e.network, e.img_size, e.batch)) for e in used]
    peaks = [p.fp16_dense_tflops or 0 for p in profiles]
    bandwidths = [p.bandwidth_gbs or 0 for p in profiles]
    return Calibration(
        name="tensorrt-jetson",
        runtime="tensorrt",
        kind="jetson",
        precisions=("fp16", "fp32"),
        threads=1,
        source=f"{len(used)} published latencies of {len(profiles)} boards: published.csv",
        peak_tflops=(min(peaks), max(peaks)),
        bandwidth_gbs=(min(bandwidths), max(bandwidths)),
        macs=(min(macs), max(macs)),
        errors=errors(estimates, "boards that the fit had not seen"),
        tile=found.tile,
        fuses=found.fuses,
        small=found.small,
        launch_cycles=found.launch_cycles,
        efficiency=dict(found.efficiency),
        stream=dict(found.stream),
    )


def row(name: object, pairs: list[tuple[Latency, float]]) -> dict[str, Any]:
    """Return the row of a group: how many, median error, bias, and the worst factor."""
    logs = np.log([ms / case.ms for case, ms in pairs])
    return {
        "left out": str(name),
        "latencies": len(pairs),
        "median_error_percent": 100 * float(np.median(np.abs(np.expm1(logs)))),
        "median_ratio": float(np.exp(np.median(logs))),
        "factor90": float(np.exp(np.quantile(np.abs(logs), 0.9))),
        "worst_factor": float(np.exp(np.max(np.abs(logs)))),
    }


def is_transformer(network: str) -> bool:
    return network.partition(":")[2].startswith(TRANSFORMERS)


def _macs(work: Columns) -> float:
    products = work.count * work.m * work.n * work.k
    return float(products[(work.n > 1) | (work.k > 1)].sum())
