"""Reading what trtexec prints: TensorRT 7 to 11, from a full log or a fragment of one.

TensorRT 8.2 and newer print one line per kind of time, older ones a block of lines. What a log
does not hold is None; figures that cannot be true make it a damaged log.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from edgeprune.errors import ResultError
from edgeprune.schema import Facts

_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf|-nan|-inf)"
# "[04/07/2025-23:59:50] [I] " before the text; a saved log may lack it.
_PREFIX = re.compile(r"^(?:\[[\d/]+-[\d:]+\] )?(?:\[([VIWEF])\] ?)?")
_BANNER = re.compile(r"^&&&& (RUNNING|PASSED|FAILED) TensorRT\.trtexec \[TensorRT v(\d+)\]")
_KINDS = {
    "Latency": "latency_ms",
    "Host Latency": "latency_ms",
    "End-to-End Host Latency": "end_to_end_ms",
    "Enqueue Time": "enqueue_ms",
    "H2D Latency": "h2d_ms",
    "GPU Compute Time": "gpu_compute_ms",
    "GPU Compute": "gpu_compute_ms",
    "D2H Latency": "d2h_ms",
}
_SCALARS = {
    "throughput_qps": re.compile(rf"^[Tt]hroughput: {_NUMBER} qps"),
    "host_walltime_s": re.compile(rf"^(?:Total Host Walltime|walltime): {_NUMBER} s"),
    "gpu_time_s": re.compile(rf"^Total GPU Compute Time: {_NUMBER} s"),
    "engine_mib": re.compile(rf"^Created engine with size: {_NUMBER} MiB"),
    "context_mib": re.compile(
        rf"^Created execution context with device memory size: {_NUMBER} MiB"
    ),
    "gpu_clock_ghz": re.compile(rf"^(?:Application )?Compute Clock Rate: {_NUMBER} GHz"),
}
_WORDS = {
    "device": re.compile(r"^Selected Device: (.+)$"),
    "sm": re.compile(r"^Compute Capability: (\d+\.\d+)$"),
    "version": re.compile(r"^TensorRT version: (\d[\d.]*)$"),
}


class Times(Facts):
    """One kind of time in milliseconds; ``percentiles`` by percent, as trtexec was asked for."""

    min: float
    max: float
    mean: float
    median: float
    percentiles: dict[float, float]


class TrtexecRun(Facts):
    """What one run of trtexec measured, and on what; None where its log does not say.

    ``latency_ms`` is transfers and compute of one query; ``gpu_compute_ms`` leaves transfers out.
    A query is one batch: images per second are ``throughput_qps`` times the batch size. The
    times mean little without ``command``.
    """

    version: str | None = None
    command: str | None = None
    passed: bool | None = None
    device: str | None = None
    sm: str | None = None
    gpu_clock_ghz: float | None = None
    engine_mib: float | None = None
    context_mib: float | None = None
    throughput_qps: float | None = None
    latency_ms: Times | None = None
    end_to_end_ms: Times | None = None
    enqueue_ms: Times | None = None
    h2d_ms: Times | None = None
    gpu_compute_ms: Times | None = None
    d2h_ms: Times | None = None
    host_walltime_s: float | None = None
    gpu_time_s: float | None = None
    warnings: tuple[str, ...] = ()


def parse(text: str, *, timed: bool = True) -> TrtexecRun:
    """Read the output of one run. Of figures that are printed twice, the last count.

    ``timed=False`` is for runs that only build an engine.

    Raises:
        ResultError: if trtexec failed (with its first error), if there is no latency and no GPU
            compute time in a timed run, or if a figure cannot be true.
    """
    found: dict[str, object] = {}
    warnings, errors = [], []
    for severity, line in _lines(text):
        if severity == "W":
            warnings.append(line.strip(" *"))
        elif severity in ("E", "F"):
            errors.append(line)
        _read_line(line, found)
    if found.get("passed") is False:
        raise ResultError(f"trtexec failed: {errors[0] if errors else 'its log names no error'}")
    found |= _blocks(text)
    if timed and "latency_ms" not in found and "gpu_compute_ms" not in found:
        why = f": {errors[0]}" if errors else ""
        raise ResultError(f"the trtexec log holds no latency{why}")
    return TrtexecRun.model_validate({**found, "warnings": tuple(warnings)})


def version(digits: str) -> str | None:
    """Return ``8.2.5`` for the banner's ``8205`` and ``10.3.0`` for ``100300``; None if neither."""
    scale = {4: 1000, 6: 10000}.get(len(digits))
    if scale is None:
        return None
    major, rest = divmod(int(digits), scale)
    return f"{major}.{rest // 100}.{rest % 100}"


def _lines(text: str) -> Iterator[tuple[str | None, str]]:
    for line in text.splitlines():
        prefix = _PREFIX.match(line)
        assert prefix is not None  # every part of it is optional
        yield prefix.group(1), line[prefix.end() :].strip()


def _read_line(line: str, found: dict[str, object]) -> None:
    banner = _BANNER.match(line)
    if banner is not None:
        word, digits = banner.groups()
        found["version"] = version(digits)
        found["command"] = line.partition("# ")[2].strip() or None
        if word != "RUNNING":
            found["passed"] = word == "PASSED"
        return
    for key, pattern in _WORDS.items():
        match = pattern.match(line)
        if match:
            found[key] = match.group(1).strip()
    for key, pattern in _SCALARS.items():
        match = pattern.match(line)
        if match:
            figure = _figure(match.group(1), line)
            # Some versions print "throughput: 0 qps" beside good latencies.
            found[key] = figure if figure > 0 else None
    kind, separator, rest = line.partition(": ")
    if separator and kind in _KINDS and rest.startswith("min = "):
        found[_KINDS[kind]] = _times(_statistics(rest, " = "), line)


def _blocks(text: str) -> dict[str, Times]:
    """Read the blocks of TensorRT before 8.2: a heading, then ``min: 1.6 ms (end to end ...)``."""
    found: dict[str, dict[str, float]] = {}
    kind: str | None = None
    for _, line in _lines(text):
        if line in _KINDS:
            kind = _KINDS[line]
        elif kind is not None and re.match(r"(min|max|mean|median|percentile): ", line):
            own = line.partition(" (end to end")[0]
            found.setdefault(kind, {}).update(_statistics(own, ": "))
        else:
            kind = None
    return {kind: _times(values, f"the block {kind}") for kind, values in found.items()}


def _statistics(text: str, equals: str) -> dict[str, float]:
    found = {}
    for name, number in re.findall(rf"(min|max|mean|median){equals}{_NUMBER} ms", text):
        found[name] = _figure(number, text)
    new = re.findall(rf"percentile\({_NUMBER}%\) = {_NUMBER} ms", text)
    old = re.findall(rf"percentile: {_NUMBER} ms at {_NUMBER}%", text)
    for percent, number in [*new, *((percent, number) for number, percent in old)]:
        found[percent] = _figure(number, text)
    return found


def _times(values: dict[str, float], where: str) -> Times:
    names = ("min", "max", "mean", "median")
    missing = [name for name in names if name not in values]
    if missing:
        raise ResultError(f"the trtexec log is damaged: no {missing[0]} in {where!r}")
    low, high = values["min"], values["max"]
    # Rounding to six digits may put a percentile a hair beyond the maximum.
    outside = [v for v in values.values() if not low * 0.999 <= v <= high * 1.001]
    if outside:
        raise ResultError(
            f"the trtexec log is damaged: {outside[0]:g} lies outside of"
            f" {low:g} to {high:g} ms in {where!r}"
        )
    percentiles = {float(name): value for name, value in values.items() if name not in names}
    if any(not 0 < percent <= 100 for percent in percentiles):
        raise ResultError(f"the trtexec log is damaged: no such percentile in {where!r}")
    return Times(**{name: values[name] for name in names}, percentiles=percentiles)


def _figure(text: str, line: str) -> float:
    number = float(text)
    if not math.isfinite(number) or number < 0:
        raise ResultError(f"the trtexec log is damaged: {text} in {line!r}")
    return number
