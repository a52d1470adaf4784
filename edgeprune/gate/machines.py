"""Are two results of one machine? Latencies of two machines are never compared in silence."""

from __future__ import annotations

from typing import Any

from edgeprune.benchmarking.context import BUSY_CORES
from edgeprune.errors import ResultError
from edgeprune.schema import BenchResult

FACTS = ("cpu", "machine", "available_cores", "cpu_limit", "governor")
# Compared where both results have them: earlier ones do not.
LATER_FACTS = ("power_mode", "gpu")
# It is what is under test.
OWN_PACKAGE = "edgeprune"


def check_same_machine(
    current: dict[str, Any], baseline: dict[str, Any], current_name: str, baseline_name: str
) -> None:
    """Compare two environments.

    Raises:
        ResultError: naming what differs, or the result that does not say on which CPU it was made,
            or was estimated.
    """
    for environment, name in ((current, current_name), (baseline, baseline_name)):
        if environment.get("estimated"):
            raise ResultError(f"{name!r} holds estimates, which are compared with nothing")
        if not environment.get("cpu"):
            raise ResultError(f"{name!r} does not say on which CPU it was measured")
    found = differences(current, baseline)
    if found:
        raise ResultError(
            f"{current_name!r} and {baseline_name!r} were measured on different machines:"
            f" {'; '.join(found)}",
            hint="--against MODEL_OR_FILE measures both here and now, interleaved",
        )


def check_same_scenario(
    current: BenchResult, baseline: BenchResult, current_name: str, baseline_name: str
) -> None:
    """Compare how two results were measured.

    Raises:
        ResultError: if their calls came in different ways.
    """
    for name in ("scenario", "period_ms", "duration_s"):
        here, there = getattr(current, name), getattr(baseline, name)
        if here != there:
            raise ResultError(
                f"{current_name!r} and {baseline_name!r} were not measured alike:"
                f" {name} {_text(here)} and {_text(there)}"
            )


def differences(current: dict[str, Any], baseline: dict[str, Any]) -> list[str]:
    """Return what differs between two environments and changes latencies."""
    found = [
        f"{name.replace('_', ' ')} {_text(current.get(name))} and {_text(baseline.get(name))}"
        for name in FACTS
        if current.get(name) != baseline.get(name)
    ]
    for name in LATER_FACTS:
        if name in current and name in baseline:
            ours, theirs = _name(current[name]), _name(baseline[name])
            if ours != theirs:
                found.append(f"{name.replace('_', ' ')} {_text(ours)} and {_text(theirs)}")
    there = _where_known(baseline)
    for name, ours in _where_known(current).items():
        if name in there and there[name] != ours:
            found.append(f"{name.replace('_', ' ')} {ours} and {there[name]}")
    versions, others = _versions(current), _versions(baseline)
    for package in sorted({*versions, *others} - {OWN_PACKAGE}):
        if versions.get(package) != others.get(package):
            found.append(
                f"{package} {_text(versions.get(package))} and {_text(others.get(package))}"
            )
    return found


def identity(environment: dict[str, Any]) -> dict[str, str | int | float | None]:
    """Return the facts of an environment by which machines are told apart."""
    found = {name: _name(environment.get(name)) for name in (*FACTS, *LATER_FACTS)}
    found |= {"board": None, "gpu_clock": None, **_where_known(environment)}
    return {
        name: value if isinstance(value, str | int | float) else None
        for name, value in found.items()
    }


def _where_known(environment: dict[str, Any]) -> dict[str, str]:
    """Return the board, and whether its GPU's clock is locked, where that is known.

    Earlier results, those of a host and those of a container may lack them.
    """
    board, gpu = environment.get("board"), environment.get("gpu")
    locked = gpu.get("locked") if isinstance(gpu, dict) else None
    found = {}
    if isinstance(board, str):
        found["board"] = board
    if isinstance(locked, bool):
        found["gpu_clock"] = "locked" if locked else "not locked"
    return found


def _name(fact: Any) -> Any:
    """Return what names a fact; of a GPU its clocks change from run to run."""
    return fact.get("name") if isinstance(fact, dict) else fact


def distrust(current: dict[str, Any], baseline: dict[str, Any]) -> dict[str, str]:
    """Return which verdicts on two runs are worth nothing, and why, from their environments.

    Other programs make a model look slower, never faster: they cannot make a slow one pass, unless
    they ran beside the baseline.
    """
    found = {}
    advice = "measure again on a quiet machine, or side by side with --against"
    if _was_busy(current):
        found["failed"] = f"other programs were running when it was measured; {advice}"
    if _was_busy(baseline):
        found["passed"] = f"other programs were running when the baseline was measured; {advice}"
    return found


def _was_busy(environment: dict[str, Any]) -> bool:
    """Tell whether other programs ran right before it was measured, or meanwhile."""
    during = environment.get("during")
    meanwhile = during.get("other_busy_cores") if isinstance(during, dict) else None
    found = (environment.get("busy_cores"), meanwhile)
    return any(isinstance(busy, int | float) and busy > BUSY_CORES for busy in found)


def _versions(environment: dict[str, Any]) -> dict[str, Any]:
    versions = environment.get("versions")
    return versions if isinstance(versions, dict) else {}


def _text(value: object) -> str:
    return "unknown" if value is None else str(value)
