"""How wrong estimates are for widths that the fit has not seen, on one thread of this CPU.

Measures ViTs of many widths, fits the roofline to every other one, holds it against the rest and
against whole networks, and writes the calibration that edgeprune ships.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.cpu_widths import Case, cases, export, measure
from benchmarks.record import machine
from benchmarks.roofline_fit import Latency, errors, estimate_ms, fit, write
from edgeprune.devices import load_profile
from edgeprune.estimating.calibration import Calibration
from edgeprune.estimating.layers import trace
from edgeprune.estimating.roofline import Coefficients, columns, rates
from edgeprune.model import rebuild

PROFILE = "amd-epyc-1-core"
SECONDS = 200.0
TILE = (4, 16, 1)  # rows and columns that ONNX Runtime's sgemm works on at a time
GUESS = {
    "product": 0.9,
    "attention": 0.6,
    "stream": 0.8,
    "softmax": 0.2,
    "activation": 0.4,
    "small": 0.5,
    "launch_cycles": 5000.0,
}
FITTED, HELD_OUT = "fitted", "held out"
TARGET_ERROR_PERCENT, TARGET_RANK = 10.0, 0.95


def run(seconds: float = SECONDS) -> dict[str, Any]:
    """Export, measure, fit and compare."""
    drawn = list(cases())
    with tempfile.TemporaryDirectory() as scratch:
        measured = measure(export(drawn, Path(scratch)), seconds)
    return compare(drawn, measured)


def compare(drawn: list[Case], measured: Mapping[str, float]) -> dict[str, Any]:
    """Fit to half of the measured milliseconds; return a row per network and the summary."""
    profile = load_profile(PROFILE)
    latencies = [_latency(case, index, measured) for index, case in enumerate(drawn)]
    seen = [latency for latency in latencies if latency.group == FITTED]
    rest = [latency for latency in latencies if latency.group == HELD_OUT]
    found = build(fit(seen, GUESS, build))
    estimates = [(latency, estimate_ms(latency, found)) for latency in rest]
    wrong = errors(estimates, "widths that the fit had not seen, on the same quiet machine")
    macs = [_macs(latency) for latency in latencies]
    write(
        Calibration(
            name="onnxruntime-cpu",
            runtime="onnxruntime",
            kind="cpu",
            cpu_profile=PROFILE,
            precisions=("fp32",),
            threads=1,
            source=f"{len(seen)} latencies measured on one core of an x86 server",
            peak_tflops=(profile.fp32_tflops or 0, profile.fp32_tflops or 0),
            bandwidth_gbs=(profile.bandwidth_gbs or 0, profile.bandwidth_gbs or 0),
            macs=(min(macs), max(macs)),
            errors=wrong,
            tile=found.tile,
            fuses=found.fuses,
            small=found.small,
            launch_cycles=found.launch_cycles,
            efficiency=dict(found.efficiency),
            stream=dict(found.stream),
        )
    )
    rank = spearmanr([latency.ms for latency in rest], [ms for _, ms in estimates]).statistic
    rows = [_row(latency, estimate_ms(latency, found)) for latency in latencies]
    return {
        "name": f"estimates for one CPU core: median error {wrong.median_percent:g} %, rank"
        f" correlation {rank:.3f} over {len(rest)} held out",
        "machine": machine(),
        "median_error_percent": wrong.median_percent,
        "rank_correlation": float(rank),
        "target": {"median_error_percent": TARGET_ERROR_PERCENT, "rank_correlation": TARGET_RANK},
        "rows": rows,
    }


def build(values: Mapping[str, float]) -> Coefficients:
    """Make coefficients of what is fitted."""
    products = values["product"]
    return Coefficients(
        tile=TILE,
        efficiency={
            "product": products,
            "convolution": products,
            "attention": values["attention"],
            "grouped": products,
        },
        stream={
            "other": values["stream"],
            "softmax": values["softmax"],
            "activation": values["activation"],
        },
        small=values["small"],
        launch_cycles=values["launch_cycles"],
        fuses=False,
    )


def _latency(case: Case, index: int, measured: Mapping[str, float]) -> Latency:
    work = columns(trace(rebuild(case.record), case.record.img_size))
    group = HELD_OUT if case.whole or index % 2 else FITTED
    device = rates(load_profile(PROFILE), "fp32")
    return Latency(case.name, group, PROFILE, work, device, measured[case.name])


def _row(latency: Latency, estimated_ms: float) -> dict[str, Any]:
    return {
        "network": latency.name,
        "used": latency.group,
        "macs": _macs(latency),
        "measured_ms": latency.ms,
        "estimated_ms": estimated_ms,
        "ratio": estimated_ms / latency.ms,
    }


def _macs(latency: Latency) -> float:
    work = latency.work
    products = work.count * work.m * work.n * work.k
    return float(np.sum(products[(work.n > 1) | (work.k > 1)]))
