"""What NVIDIA's management library (NVML) tells of the GPU that is measured on.

The bindings (``nvidia-ml-py``, extra ``[nvidia]``) are optional. Functions take the module as a
value, so that another one can stand in for a driver that is not here.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from edgeprune.errors import UnavailableError

# Why a GPU may run below its clock (nvml.h, nvmlClocksEventReasons); idling and a clock that
# somebody has set are no throttling.
THROTTLING = {
    0x4: "its power limit",
    0x8: "a slow-down of the hardware",
    0x20: "its temperature (driver)",
    0x40: "its temperature (hardware)",
    0x80: "the power supply's brake",
}


def open_nvml() -> Any:
    """Return the bindings, started.

    Raises:
        UnavailableError: if they are not installed, or there is no driver.
    """
    try:
        nvml = import_module("pynvml")
    except ImportError:
        raise UnavailableError(
            "nvidia-ml-py is not installed", hint="pip install 'edgeprune[nvidia]'"
        ) from None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise UnavailableError(f"NVML does not start: {error}") from None
    return nvml


def first_visible_gpu(visible: str | None = None) -> str:
    """Return which GPU CUDA calls 0: its place on the bus, or its UUID.

    ``visible`` is CUDA_VISIBLE_DEVICES; the process's own if None.
    """
    if visible is None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    return visible.split(",")[0].strip()


def gpu_handle(nvml: Any, visible: str | None = None) -> Any:
    """Return the GPU that CUDA calls 0.

    Args:
        nvml: the bindings.
        visible: CUDA_VISIBLE_DEVICES; the process's own if None.

    Raises:
        UnavailableError: if there is no such GPU.
    """
    first = first_visible_gpu(visible)
    try:
        if first.isdigit():
            return nvml.nvmlDeviceGetHandleByIndex(int(first))
        return nvml.nvmlDeviceGetHandleByUUID(first)
    except nvml.NVMLError as error:
        raise UnavailableError(f"NVML knows no GPU {first!r}: {error}") from None


def describe(nvml: Any, handle: Any) -> dict[str, Any]:
    """Return name, driver, clocks in MHz and power limit in W of a GPU; null where not told."""
    ask = _Asker(nvml, handle)
    limit_mw = ask("nvmlDeviceGetEnforcedPowerLimit")
    return {
        "name": _text(ask("nvmlDeviceGetName")),
        "driver": _text(_or_none(nvml, nvml.nvmlSystemGetDriverVersion)),
        "clock_mhz": ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
        "max_clock_mhz": ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM),
        "memory_clock_mhz": ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
        "power_limit_w": limit_mw / 1000 if limit_mw is not None else None,
        "temperature_c": ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
    }


def throttling(nvml: Any, handle: Any) -> list[str] | None:
    """Return what lowers the GPU's clock now; None if it is not told."""
    ask = _Asker(nvml, handle)
    reasons = ask("nvmlDeviceGetCurrentClocksEventReasons")
    if reasons is None:  # its name before driver 535
        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    if reasons is None:
        return None
    return [text for bit, text in THROTTLING.items() if reasons & bit]


def process_bytes(nvml: Any, handle: Any, pid: int) -> int | None:
    """Return the device memory that a process holds now; None if NVML does not say."""
    running = _Asker(nvml, handle)("nvmlDeviceGetComputeRunningProcesses") or []
    for process in running:
        if process.pid == pid and process.usedGpuMemory is not None:
            return int(process.usedGpuMemory)
    return None


class _Asker:
    """Asks NVML about one GPU; what it does not support, or does not know, is None."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle

    def __call__(self, function: str, *arguments: Any) -> Any:
        call = getattr(self._nvml, function, None)
        if call is None:
            return None
        return _or_none(self._nvml, call, self._handle, *arguments)


def _or_none(nvml: Any, call: Any, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except nvml.NVMLError:
        return None


def _text(value: str | bytes | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
