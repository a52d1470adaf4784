from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from onnx_files import write_mlp
from test_bench_nvml import RecordedNvml

from edgeprune.benchmarking import bench, energy
from edgeprune.benchmarking.energy import nvml, rapl
from edgeprune.benchmarking.energy.nvml import NvmlMeter
from edgeprune.benchmarking.energy.rapl import RaplMeter
from edgeprune.benchmarking.energy.tegrastats import RailMeter
from edgeprune.benchmarking.groups import energy_per_image_mj
from edgeprune.benchmarking.rounds import Recording, WarmUp
from edgeprune.benchmarking.runtimes.base import Job
from edgeprune.benchmarking.workers import RecordedWorker, SubprocessWorker
from edgeprune.errors import UnavailableError

LINE = "RAM 100/7620MB CPU [1%@729] VDD_IN {mw}mW/{mw}mW VDD_SOC 1000mW/1000mW\n"


def zone(root: Path, name: str, title: str, uj: int, span: int = 1000) -> Path:
    folder = root / "sys/class/powercap" / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{title}\n")
    (folder / "energy_uj").write_text(f"{uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{span}\n")
    return folder / "energy_uj"


def test_rapl_counts_packages_and_memory_once(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    zone(tmp_path, "intel-rapl:0:0", "core", 1)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 7)
    zone(tmp_path, "intel-rapl:1", "psys", 5)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 100)
    with rapl.open_meter(tmp_path) as meter:
        assert meter.paths == (str(package), str(memory))
        read = rapl.reader(meter.spec)
        assert read() == [100, 7]
        package.write_text("350\n")
        assert meter.joules([100, 7], read()) == pytest.approx(250e-6)


def test_a_rapl_counter_that_starts_again_is_no_negative_energy() -> None:
    meter = RaplMeter(("package", "dram"), (262_143_328_850, 1000))
    assert meter.joules([262_143_328_000, 990], [1150, 20]) == pytest.approx(2030e-6)


def test_rapl_says_why_it_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no RAPL counter"), rapl.open_meter(tmp_path):
        pass
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 1, span=0)
    with pytest.raises(UnavailableError, match="where its counter ends"), rapl.open_meter(tmp_path):
        pass
    counter.write_text("\n")
    with pytest.raises(UnavailableError, match="cannot be read"), rapl.open_meter(tmp_path):
        pass


def test_a_counter_of_root_is_named_as_such(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    counter.chmod(0)
    try:
        counter.read_text()
    except PermissionError:
        pass
    else:
        pytest.skip("root may read everything")
    with pytest.raises(UnavailableError, match="by root only"), rapl.open_meter(tmp_path):
        pass


def test_nvml_counts_millijoules() -> None:
    assert NvmlMeter().joules([5000], [7500]) == 2.5
    assert NvmlMeter().joules([5000], [20]) is None
    with pytest.raises(UnavailableError, match=r"does not count its energy \(Not Supported\)"):
        nvml.check(RecordedNvml(nvmlDeviceGetHandleByIndex="gpu", nvmlDeviceGetHandleByUUID="gpu"))


def test_rails_are_averaged_over_the_time_between_two_readings(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first, half = LINE.format(mw=9000), LINE.format(mw=9000)[:20]
    log.write_text(first + half)
    before = [log.stat().st_size, 0]
    log.write_text(first + LINE.format(mw=9000) + LINE.format(mw=4000) + LINE.format(mw=6000))
    after = [log.stat().st_size, 200_000_000]
    assert RailMeter(log).joules(before, after) == pytest.approx(5.0 * 0.2)
    assert RailMeter(log).joules([len(first), 0], [2 * len(first), 10**9]) == pytest.approx(9.0)
    assert RailMeter(log).joules(after, [after[0], 300_000_000]) is None


def test_tegrastats_runs_for_as_long_as_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "tegrastats"
    program.write_text(
        "#!/bin/sh\n"
        f"echo $$ > {tmp_path}/pid\n"
        f"while true; do echo '{LINE.format(mw=5000).strip()}' >> $4; sleep 0.02; done\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with energy.metered("cpu", tmp_path) as found:
        assert (found.source, found.reason) == ("tegrastats", None)
        read = energy.reader(found.job)
        assert read is not None
        assert found.meter is not None
        before = read()
        deadline = time.monotonic() + 20
        while found.meter.joules(before, read()) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        after = read()
        seconds = (after[1] - before[1]) / 1e9
        assert found.meter.joules(before, after) == pytest.approx(5.0 * seconds)
        log = Path(found.meter.spec["log"])
    assert not log.exists()
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_where_nothing_counts_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with energy.metered("cpu", tmp_path) as found:
        assert found.job is None
        assert found.facts["source"] is None
        assert "rapl: there is no RAPL counter in /sys/class/powercap; tegrastats: " in str(
            found.facts["reason"]
        )
    assert energy.reader(None) is None


def test_energy_is_that_of_the_timed_calls_per_image() -> None:
    meter = RaplMeter(("package",), (10**9,))
    rounds = (np.ones(10), np.ones(20), np.ones(30))
    # Of the second round nothing is known: neither its energy nor its calls count.
    readings = (([0], [4_000_000]), None, ([4_000_000], [16_000_000]))
    recording = Recording(rounds, WarmUp(), energy=readings)
    assert energy_per_image_mj(meter, recording, batch=2) == pytest.approx(16_000 / 80)
    assert energy_per_image_mj(None, recording, batch=2) is None
    unknown = Recording(rounds, WarmUp(), energy=(None, None, None))
    assert energy_per_image_mj(meter, unknown, batch=2) is None


def test_a_real_process_reads_the_counter_around_its_calls(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 41)
    with energy.metered("cpu", tmp_path) as found:
        job = Job(
            name="net",
            runtime="onnxruntime",
            source=str(write_mlp(tmp_path / "net.onnx")),
            device="cpu",
            batch=1,
            threads=1,
            seed=0,
            energy=found.job,
        )
        with SubprocessWorker(job) as worker:
            worker.load()
            taken = worker.round(0.01, 0.0)
            counter.write_text("77\n")
            again = worker.round(0.01, 0.0)
    assert (taken.energy, again.energy) == (([41], [41]), ([77], [77]))


def test_a_result_without_a_source_says_so(tmp_path: Path) -> None:
    result = bench(
        [write_mlp(tmp_path / "net.onnx")],
        threads=1,
        start=lambda job: RecordedWorker([[2_000_000] * 7]),
    )
    facts = result.environment["energy"]
    if facts["source"] is None:
        assert result.measurements[0].energy_mj is None
        assert facts["reason"]
