from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeprune.benchmarking import cgroup, conditions, context, run_queue
from edgeprune.benchmarking.conditions import Snapshot, Watch


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_the_machine_is_described_from_the_system_files(tmp_path: Path) -> None:
    cpufreq = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    write(cpufreq / "scaling_governor", "powersave")
    write(cpufreq / "scaling_cur_freq", "1800000")
    write(cpufreq / "cpuinfo_max_freq", "3600000")
    write(tmp_path / "proc/cpuinfo", "model name\t: Made Up 9000\ncpu MHz\t\t: 99.5")
    write(tmp_path / "sys/fs/cgroup/cpu.max", "50000 100000")
    write(tmp_path / "sys/fs/cgroup/memory.max", "2000000000")
    write(tmp_path / "sys/firmware/acpi/platform_profile", "low-power")
    write(tmp_path / "sys/class/power_supply/AC/type", "Mains")
    write(tmp_path / "sys/class/power_supply/AC/online", "0")
    facts = context.describe(64, ("numpy",), tmp_path)
    expected = {
        "cpu": "Made Up 9000",
        "governor": "powersave",
        "frequency_mhz": 1800.0,
        "max_frequency_mhz": 3600.0,
        "cpu_limit": 0.5,
        "memory_limit_mb": 2000.0,
        "power_mode": "low-power",
        "on_battery": True,
    }
    assert {name: facts[name] for name in expected} == expected
    assert facts["versions"].keys() == {"edgeprune", "numpy"}
    text = " | ".join(context.warnings({**facts, "busy_cores": 3.0, "available_cores": 2}))
    for part in (
        "3.0 cores were busy",
        "governor is powersave",
        "power mode is low-power",
        "runs on battery",
        "64 threads share 2",
        "may use 0.5 cores",
    ):
        assert part in text


def test_what_the_system_does_not_say_is_null(tmp_path: Path) -> None:
    facts = context.describe(1, (), tmp_path)
    for name in ("cpu_limit", "memory_limit_mb", "governor", "frequency_mhz", "on_battery"):
        assert facts[name] is None
    assert context.warnings({**facts, "busy_cores": 0.0}) == []
    assert conditions.take(tmp_path).busy_s is None
    assert Watch(tmp_path).facts()["other_busy_cores"] is None


def test_a_virtual_machine_tells_its_clock_in_cpuinfo(tmp_path: Path) -> None:
    write(tmp_path / "proc/cpuinfo", "model name\t: x\ncpu MHz\t\t: 2596.142\ncache size : 512 KB")
    assert context.frequency_mhz(tmp_path) == 2596.142


def test_a_machine_on_mains_is_not_on_battery(tmp_path: Path) -> None:
    supplies = tmp_path / "sys/class/power_supply"
    write(supplies / "BAT0/type", "Battery")
    assert context.on_battery(tmp_path) is None
    write(supplies / "AC/type", "Mains")
    write(supplies / "AC/online", "1")
    write(supplies / "usb/type", "USB")
    write(supplies / "usb/online", "0")
    assert context.on_battery(tmp_path) is False


def test_the_gpu_of_a_jetson_has_a_clock_that_can_be_locked(tmp_path: Path) -> None:
    devices = tmp_path / "sys/class/devfreq"
    write(devices / "15340000.vic/device/of_node/name", "vic\0")
    gpu = devices / "17000000.ga10b"
    write(gpu / "device/of_node/name", "ga10b\0")
    for name, hertz in (("cur", 306_000_000), ("min", 306_000_000), ("max", 1_020_000_000)):
        write(gpu / f"{name}_freq", str(hertz))
    facts = context.describe(1, (), tmp_path)
    assert facts["gpu"] == {
        "name": "ga10b",
        "clock_mhz": 306.0,
        "max_clock_mhz": 1020.0,
        "locked": False,
    }
    (told,) = context.warnings({**facts, "busy_cores": 0.0})
    assert told == "the GPU's clock is not locked: sudo jetson_clocks locks it"
    write(gpu / "min_freq", "1020000000")
    assert context.warnings({**context.describe(1, (), tmp_path), "busy_cores": 0.0}) == []


def test_the_mode_of_a_jetson_is_read() -> None:
    assert context.parse_nvpmodel("NV Power Mode: MAXN_SUPER\n2\n") == "MAXN_SUPER"
    assert context.parse_nvpmodel("NVPM ERROR: nothing") is None


def test_the_tightest_limit_of_all_groups_counts(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup"
    write(tmp_path / "proc/self/cgroup", "0::/outer/inner")
    write(group / "cpu.max", "max 100000")
    write(group / "outer/cpu.max", "150000 100000")
    write(group / "outer/inner/cpu.max", "max 100000")
    write(group / "outer/inner/memory.max", "max")
    write(group / "outer/inner/cpu.stat", "usage_usec 5\nnr_throttled 3\nthrottled_usec 2500000")
    assert cgroup.cpu_limit(tmp_path) == 1.5
    assert cgroup.memory_limit_bytes(tmp_path) is None
    assert cgroup.throttled_s(tmp_path) == 2.5


def test_version_1_of_control_groups_is_read_too(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup"
    write(tmp_path / "proc/self/cgroup", "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/")
    # In a container the group's own path is not there, but mounted at the top.
    write(group / "cpu/cpu.cfs_quota_us", "200000")
    write(group / "cpu/cpu.cfs_period_us", "100000")
    write(group / "cpu/cpu.stat", "nr_throttled 2\nthrottled_time 1500000000")
    write(group / "memory/memory.limit_in_bytes", "9223372036854771712")
    assert cgroup.cpu_limit(tmp_path) == 2.0
    assert cgroup.throttled_s(tmp_path) == 1.5
    assert cgroup.memory_limit_bytes(tmp_path) is None
    write(group / "cpu/cpu.cfs_quota_us", "-1")
    assert cgroup.cpu_limit(tmp_path) is None


def test_what_happened_meanwhile_is_the_difference() -> None:
    before = Snapshot(100.0, 5.0, 40.0, 1.0, 0.5, 7)
    after = Snapshot(110.0, 13.0, 60.0, 2.0, 0.75, 9)
    found = conditions.between(before, after)
    assert found == {
        "seconds": 10.0,
        "other_busy_cores": 1.2,
        "stolen_cores": 0.1,
        "quota_stopped_s": 0.25,
        "thermal_events": 2,
    }
    text = " | ".join(conditions.warnings({**found, "gpu_throttling": ["its power limit"]}))
    for part in (
        "other programs used 1.2 cores",
        "gave 0.10 cores to others",
        "stopped it for 0.25 s",
        "for heat 2 times",
        "lowered by its power limit",
    ):
        assert part in text
    quiet = conditions.between(before, Snapshot(110.0, 13.0, 48.5, 1.0, 0.5, 7))
    assert conditions.warnings({**quiet, "gpu_throttling": []}) == []


def test_counters_are_read_from_the_system_files(tmp_path: Path) -> None:
    write(tmp_path / "proc/stat", "cpu  1000 10 500 9000 70 20 30 40 600 0\ncpu0 1 2 3")
    for core, count in (("cpu0", 2), ("cpu1", 3)):
        folder = tmp_path / f"sys/devices/system/cpu/{core}/thermal_throttle"
        write(folder / "core_throttle_count", str(count))
        write(folder / "core_throttle_total_time_ms", "999")
    found = conditions.take(tmp_path)
    ticks = os.sysconf("SC_CLK_TCK")
    assert found.busy_s == pytest.approx(1560 / ticks)
    assert found.stolen_s == pytest.approx(40 / ticks)
    assert found.thermal_events == 5


def test_waiting_for_a_core_is_summed_over_threads(tmp_path: Path) -> None:
    write(tmp_path / "task/10/schedstat", "1000 200 7")
    write(tmp_path / "task/11/schedstat", "500 0 3")
    before = run_queue.thread_times(tmp_path)
    write(tmp_path / "task/10/schedstat", "1600 500 9")
    write(tmp_path / "task/12/schedstat", "100 100 1")
    (tmp_path / "task/11/schedstat").unlink()
    times = run_queue.between(before, run_queue.thread_times(tmp_path))
    assert times == (700, 400)
    assert run_queue.waiting_share(*times) == pytest.approx(4 / 11)


def test_a_kernel_that_does_not_count_starves_nobody(tmp_path: Path) -> None:
    assert run_queue.between({}, run_queue.thread_times(tmp_path)) is None
    assert run_queue.waiting_share(0, 0) is None
    assert not run_queue.starved(None)
    assert not run_queue.starved(run_queue.STARVED_SHARE)
    assert run_queue.starved(run_queue.STARVED_SHARE + 0.01)
