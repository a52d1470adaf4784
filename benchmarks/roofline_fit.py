"""Fitting a roofline's coefficients to latencies, and leaving some out to see how wrong it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from edgeprune.estimating.calibration import FOLDER, Calibration, Errors
from edgeprune.estimating.roofline import Coefficients, Columns, Floats, Rates, kernel_times

Build = Callable[[Mapping[str, float]], Coefficients]

# How far (in logarithms) a coefficient may stray from its first guess before it costs as much as
# one latency that is off by as much: a network or two must not drive one to nonsense.
PRIOR_WEIGHT = 0.05
# Beyond this error (in logarithms) a latency pulls no harder: a few published ones are odd.
SOFT = 0.2


@dataclass(frozen=True)
class Latency:
    """One latency to fit: the work, the device, milliseconds, and what it belongs to."""

    name: str
    group: Hashable
    setting: Hashable
    work: Columns
    device: Rates
    ms: float


def estimate_ms(case: Latency, coefficients: Coefficients) -> float:
    return 1e3 * float(kernel_times(case.work, case.device, coefficients).total.sum())


def fit(cases: Sequence[Latency], guess: Mapping[str, float], build: Build) -> dict[str, float]:
    """Return the coefficients that bring estimates nearest in ratio, from a first guess."""
    names, start = list(guess), np.log(list(guess.values()))

    def residuals(logs: Floats) -> Floats:
        coefficients = build(dict(zip(names, np.exp(logs).tolist(), strict=True)))
        errors = [math.log(estimate_ms(case, coefficients) / case.ms) for case in cases]
        return np.concatenate([errors, PRIOR_WEIGHT * (logs - start)])

    found = least_squares(residuals, start, loss="soft_l1", f_scale=SOFT).x
    return dict(zip(names, np.exp(found).tolist(), strict=True))


def left_out(
    cases: Sequence[Latency], guess: Mapping[str, float], build: Build
) -> list[tuple[Latency, float]]:
    """Return every case with the estimate (ms) of a fit to all other groups."""
    found = []
    for group in dict.fromkeys(case.group for case in cases):
        rest = [case for case in cases if case.group != group]
        coefficients = build(fit(rest, guess, build))
        found += [(c, estimate_ms(c, coefficients)) for c in cases if c.group == group]
    return found


def errors(estimates: Sequence[tuple[Latency, float]], held_out: str) -> Errors:
    """Summarise how wrong estimates are, alone and as ratios within one setting."""
    logs = np.array([math.log(ms / case.ms) for case, ms in estimates])
    settings = [case.setting for case, _ in estimates]
    pairs = [
        abs(logs[a] - logs[b])
        for a, b in combinations(range(len(logs)), 2)
        if settings[a] == settings[b]
    ]
    return Errors(
        held_out=held_out,
        cases=len(logs),
        median_percent=round(100 * float(np.median(np.abs(np.expm1(logs)))), 1),
        factor95=round(float(np.exp(np.quantile(np.abs(logs), 0.95))), 3),
        ratio_factor95=round(float(np.exp(np.quantile(pairs, 0.95))), 3),
    )


def write(calibration: Calibration) -> Path:
    """Write a calibration as TOML where edgeprune reads it."""
    path = FOLDER / f"{calibration.name}.toml"
    lines = ["# Written by benchmarks: see benchmarks/roofline_fit.py. Do not edit."]
    tables = []
    for key, value in calibration.model_dump(exclude_none=True).items():
        if isinstance(value, dict):
            tables += ["", f"[{key}]", *(f"{k} = {_toml(v)}" for k, v in value.items())]
        else:
            lines.append(f"{key} = {_toml(value)}")
    path.write_text("\n".join([*lines, *tables]) + "\n", encoding="utf-8")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}.0"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value)
