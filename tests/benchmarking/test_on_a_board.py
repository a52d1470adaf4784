"""``bench --device jetson-...`` on the board itself: copies of its files, scripts for its programs.

No board, no GPU and no TensorRT took part.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from engine_stand_ins import install_trtexec, write_engine
from onnx_files import write_mlp

from edgeprune.benchmarking import bench, context, energy, tegra
from edgeprune.benchmarking.choice import choose, takes_engines
from edgeprune.benchmarking.unified_memory import RamWatch, used_bytes
from edgeprune.benchmarking.workers import Peaks, RecordedWorker
from edgeprune.errors import UnavailableError, UsageError
from edgeprune.probes import Probe

SAMPLES = Path(__file__).parent / "samples"
BOARD = "jetson-orin-nano-super"
R36 = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed\n"
MODES = """\
# "< POWER_MODEL ID=9 NAME=MAXN >" in a comment is none
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=1 >
"""
NO_PACKAGE = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is not None, reason="TensorRT's Python package is here"
)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def meminfo(available_kb: int) -> str:
    return f"MemTotal: 7800000 kB\nMemFree: 1 kB\nMemAvailable: {available_kb} kB\n"


def script(path: Path, text: str) -> None:
    write(path, "#!/bin/sh\n" + text)
    path.chmod(0o755)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board in a slow mode whose clocks are not locked."""
    root, programs = tmp_path / "root", tmp_path / "bin"
    tree = root / "proc/device-tree"
    write(tree / "model", "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0")
    write(tree / "compatible", "nvidia,p3768-0000+p3767-0005-super\0nvidia,tegra234\0")
    write(root / "proc/meminfo", meminfo(5_000_000))
    write(root / "etc/nv_tegra_release", R36)
    write(root / "etc/nvpmodel.conf", MODES)
    gpu = root / "sys/class/devfreq/17000000.gpu"
    write(gpu / "device/of_node/name", "gpu\0")
    for name, hertz in (("cur", 306_000_000), ("min", 306_000_000), ("max", 1_020_000_000)):
        write(gpu / f"{name}_freq", f"{hertz}\n")
    script(programs / "nvpmodel", "echo 'NV Power Mode: 15W'; echo 0\n")
    rows = (SAMPLES / "tegrastats.txt").read_text().splitlines()
    line = next(row.split("|", 3)[3] for row in rows if row.startswith("orin_nano_r36_user|"))
    script(
        programs / "tegrastats",
        f"echo $$ > {tmp_path}/pid\nwhile :; do echo '{line}' >> \"$4\"; sleep 0.02; done\n",
    )
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("TRTEXEC", str(install_trtexec(programs, "10.3")))
    return root


def probing(**status: str) -> object:
    """Return what finds packages in these states."""

    def probe(names: Sequence[str]) -> Iterable[Probe]:
        return [Probe(n, status[n.replace("-", "_")], f"{n} is what it is") for n in names]

    return probe


@NO_PACKAGE
@pytest.mark.parametrize(
    "does", [None, pytest.param("takes its time", marks=pytest.mark.slow)], ids=["quick", "timed"]
)
def test_a_board_without_the_package_uses_trtexec(
    board: Path, tmp_path: Path, does: str | None
) -> None:
    memory = str(board / "proc/meminfo")
    half = write_engine(tmp_path / "half.engine", does=does, writes={memory: meminfo(4_800_000)})
    result = bench([half], device=BOARD, min_time_s=1.0, precision_target=None, root=board)
    (row,) = result.measurements
    assert (row.runtime, row.device, row.precision) == ("trtexec", BOARD, "fp16")
    # 200,000 kB less were available while it ran than before.
    assert row.memory_mb.device_peak == pytest.approx(200_000 * 1024 / 1e6)
    facts = result.environment
    assert facts["runtime"]["runtime"] == "trtexec"
    assert "TensorRT's Python package does not work" in facts["runtime"]["why"]
    assert (facts["l4t"], facts["jetpack"]) == ("36.4.3", "6.2")
    assert (facts["power_mode"], facts["gpu"]["locked"]) == ("15W", False)
    assert facts["fastest_power_mode"] == {"id": 2, "name": "MAXN_SUPER"}
    assert facts["energy"]["source"] == "tegrastats"
    assert facts["tegrastats"]["board_mw_mean"] == 4742
    assert facts["tegrastats"]["ram_used_mib_max"] == 1905
    told = " | ".join(facts["warnings"])
    assert "the power mode is 15W, not MAXN_SUPER" in told
    assert "sudo nvpmodel -m 2 sets it" in told
    assert "sudo jetson_clocks locks it" in told
    if does is not None:  # 4742 mW for a second and what the stand-in needs, by 40 images
        assert 4742 / 40 <= row.energy_mj <= 1.5 * 4742 / 40
    pid = (tmp_path / "pid").read_text().strip()
    assert not Path("/proc", pid).exists()


def test_another_board_is_refused(board: Path, tmp_path: Path) -> None:
    engine = write_engine(tmp_path / "half.engine")
    with pytest.raises(UnavailableError, match=r"'jetson-nano' was asked for, this is NVIDIA"):
        bench([engine], device="jetson-nano", root=board)


@NO_PACKAGE
def test_a_board_takes_engines_unless_another_runtime_is_named(board: Path, tmp_path: Path) -> None:
    net = str(write_mlp(tmp_path / "net.onnx"))
    with pytest.raises(UsageError, match="'trtexec' measures engine files") as caught:
        bench([net], device=BOARD, root=board)
    assert "edgeprune export --tensorrt" in str(caught.value.hint)

    def start(job: object) -> RecordedWorker:
        return RecordedWorker([[2_000_000] * 7], peaks=Peaks(1_000_000, 2_000_000))

    result = bench([net], runtime="onnxruntime", device=BOARD, start=start, root=board)
    assert result.environment["runtime"] == {"runtime": "onnxruntime", "why": "asked for"}
    # The driver tells.
    assert result.measurements[0].memory_mb.device_peak == 2.0


def test_the_package_comes_first_and_needs_cuda_in_torch(board: Path) -> None:
    works = probing(tensorrt="ok", torch_cuda="ok")
    assert choose(None, BOARD, works).runtime == "tensorrt"
    without = choose(None, BOARD, probing(tensorrt="ok", torch_cuda="missing"))
    assert without.runtime == "trtexec"
    assert without.why.endswith("torch-cuda is what it is")
    assert choose("torch", BOARD, works).why == "asked for"
    for device in ("cpu", "cuda", "generic-cuda", "rtx-4090"):
        assert choose(None, device, works).runtime == "onnxruntime"


def test_a_board_without_tensorrt_says_how_to_get_it(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRTEXEC", "nowhere")
    with pytest.raises(UnavailableError, match="neither its Python package") as caught:
        choose(None, BOARD, probing(tensorrt="missing", torch_cuda="ok"))
    assert caught.value.exit_code == 3
    assert "tensorrt is what it is" in str(caught.value)
    assert "TRTEXEC='nowhere' is no program" in str(caught.value)
    assert "sudo apt-get install libnvinfer-bin" in str(caught.value.hint)


def test_what_measures_engines() -> None:
    assert takes_engines("tensorrt", "cuda")
    assert takes_engines("trtexec", "cuda")
    assert takes_engines(None, BOARD)
    assert not takes_engines("onnxruntime", BOARD)
    assert not takes_engines(None, "rtx-4090")


def test_without_tegrastats_there_is_no_energy_and_the_reason_is_told(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with energy.metered("cuda", board) as found:
        assert found.job is None
        assert "there is no tegrastats here: Jetson Linux has it" in str(found.reason)
        assert found.seen() == {}


def test_a_garbled_line_does_not_cost_the_summary(board: Path) -> None:
    with energy.metered("cuda", board) as found:
        assert found.meter is not None
        log = Path(found.meter.spec["log"])
        with log.open("a") as stream:
            stream.write("no line of it\n")
        assert found.seen()["tegrastats"]["board_mw_mean"] == 4742


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MODES, {"id": 2, "name": "MAXN_SUPER"}),
        (
            "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=5W >\n",
            {"id": 0, "name": "MAXN"},
        ),
        (
            "< POWER_MODEL ID=0 NAME=MODE_15W_6CORE >\n< POWER_MODEL ID=8 NAME=MODE_20W_6CORE >\n",
            {"id": 8, "name": "MODE_20W_6CORE"},
        ),
        ("< POWER_MODEL ID=0 NAME=mine >\n", None),
        ("", None),
    ],
)
def test_the_fastest_mode(tmp_path: Path, text: str, expected: object) -> None:
    write(tmp_path / "etc/nvpmodel.conf", text)
    assert tegra.fastest_mode(tmp_path) == expected


def test_a_board_in_its_fastest_mode_with_locked_clocks_is_no_reason_to_warn(
    board: Path, tmp_path: Path
) -> None:
    script(tmp_path / "bin/nvpmodel", "echo 'NV Power Mode: MAXN_SUPER'; echo 2\n")
    write(board / "sys/class/devfreq/17000000.gpu/min_freq", "1020000000\n")
    facts = context.describe(1, (), board)
    assert context.warnings({**facts, "busy_cores": 0.0}) == []
    script(tmp_path / "bin/nvpmodel", "exit 1\n")
    facts = context.describe(1, (), board)
    (told,) = context.warnings({**facts, "busy_cores": 0.0})
    assert told == "the power mode is not known: sudo nvpmodel -q tells it"
    shutil.rmtree(board / "sys")
    told = context.warnings({**context.describe(1, (), board), "busy_cores": 0.0})[-1]
    assert told == "whether clocks are locked is not known: sudo jetson_clocks locks them"


def test_what_is_taken_of_shared_memory(tmp_path: Path) -> None:
    path = tmp_path / "proc/meminfo"
    with RamWatch(tmp_path) as unknown:
        assert used_bytes(tmp_path) is None
    assert unknown.grown_bytes is None
    write(path, meminfo(5_000_000))
    assert used_bytes(tmp_path) == 2_800_000 * 1024
    with RamWatch(tmp_path, interval_s=60) as watch:
        write(path, meminfo(4_999_000))
    assert watch.grown_bytes == 1_000 * 1024
    with RamWatch(tmp_path) as watch:
        write(path, meminfo(6_000_000))
    assert watch.grown_bytes is None
