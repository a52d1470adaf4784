"""NVML's side of things on a machine without a GPU: a recorded driver stands in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgeprune.benchmarking import nvml
from edgeprune.errors import UnavailableError


class RecordedNvml:
    """Answers as pynvml does; what is not recorded is not supported."""

    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            if name not in self._answers:
                raise self.NVMLError("Not Supported")
            answer = self._answers[name]
            return answer(*arguments) if callable(answer) else answer

        return call


def test_a_gpu_is_described_and_what_is_not_told_is_null() -> None:
    driver = RecordedNvml(
        nvmlDeviceGetName=b"Example GPU",
        nvmlSystemGetDriverVersion="550.54",
        nvmlDeviceGetClockInfo=lambda handle, kind: {1: 1410, 2: 1593}[kind],
        nvmlDeviceGetEnforcedPowerLimit=250_000,
    )
    assert nvml.describe(driver, "gpu") == {
        "name": "Example GPU",
        "driver": "550.54",
        "clock_mhz": 1410,
        "max_clock_mhz": None,
        "memory_clock_mhz": 1593,
        "power_limit_w": 250.0,
        "temperature_c": None,
    }


def test_throttling_is_told_and_idling_is_none() -> None:
    idle = RecordedNvml(nvmlDeviceGetCurrentClocksEventReasons=0x1 | 0x2)
    assert nvml.throttling(idle, "gpu") == []
    older = RecordedNvml(nvmlDeviceGetCurrentClocksThrottleReasons=0x4 | 0x40)
    assert nvml.throttling(older, "gpu") == ["its power limit", "its temperature (hardware)"]
    assert nvml.throttling(RecordedNvml(), "gpu") is None


def test_the_gpu_is_the_first_that_cuda_sees() -> None:
    driver = RecordedNvml(
        nvmlDeviceGetHandleByIndex=lambda index: f"index {index}",
        nvmlDeviceGetHandleByUUID=lambda uuid: f"uuid {uuid}",
    )
    assert nvml.gpu_handle(driver, "3,1") == "index 3"
    assert nvml.gpu_handle(driver, "GPU-ab12") == "uuid GPU-ab12"
    with pytest.raises(UnavailableError, match="NVML knows no GPU '7'"):
        nvml.gpu_handle(RecordedNvml(), "7")


def test_the_memory_of_a_process_is_its_own() -> None:
    running = [SimpleNamespace(pid=5, usedGpuMemory=10), SimpleNamespace(pid=7, usedGpuMemory=99)]
    driver = RecordedNvml(nvmlDeviceGetComputeRunningProcesses=running)
    assert nvml.process_bytes(driver, "gpu", 7) == 99
    assert nvml.process_bytes(driver, "gpu", 8) is None
    assert nvml.process_bytes(RecordedNvml(), "gpu", 7) is None
