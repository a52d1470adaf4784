"""Device profiles and the detection of this machine."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from edgeprune.devices import (
    DeviceProfile,
    device_name,
    list_profiles,
    load_profile,
    profile_names,
    profile_of,
    profiles_directory,
    read_profile,
)
from edgeprune.errors import UsageError
from edgeprune.machine import detect, is_device, parse_gpus, recognise

DOCUMENT = Path(__file__).parent.parent / "docs" / "devices.md"

BOARDS = {
    "jetson-nano",
    "jetson-tx2",
    "jetson-xavier-nx",
    "jetson-agx-xavier",
    "jetson-orin-nano-4gb",
    "jetson-orin-nano-4gb-super",
    "jetson-orin-nano",
    "jetson-orin-nano-super",
    "jetson-orin-nx-8gb",
    "jetson-orin-nx-16gb",
    "jetson-agx-orin-32gb",
    "jetson-agx-orin-64gb",
    "jetson-thor-t5000",
    "jetson-thor-t4000",
}

# Dense half-precision FMA per clock and SM of the tensor cores.
FMA_PER_CLOCK = {"7.2": 512, "8.7": 1024}


def test_every_shipped_profile_is_valid_and_every_board_is_there() -> None:
    profiles = {profile.name: profile for profile in list_profiles()}
    assert set(profiles) >= BOARDS | {"generic-cpu", "generic-cuda"}
    for name in BOARDS:
        profile = profiles[name]
        assert profile.kind == "jetson"
        assert {"sm", "gpu_clock_mhz", "fp16_dense_tflops", "bandwidth_gbs", "memory_gb"} <= set(
            profile.figures()
        )


# Boards with tensor cores of a published rate per SM.
TENSOR_CORE_BOARDS = [name for name in sorted(BOARDS) if load_profile(name).sm in FMA_PER_CLOCK]


@pytest.mark.parametrize("name", TENSOR_CORE_BOARDS)
def test_tensor_core_peaks_follow_from_sms_and_clock(name: str) -> None:
    profile = load_profile(name)
    assert profile.gpu_sms is not None
    assert profile.gpu_clock_mhz is not None
    peak = profile.gpu_sms * FMA_PER_CLOCK[profile.sm] * 2 * profile.gpu_clock_mhz * 1e6 / 1e12
    assert profile.fp16_dense_tflops == pytest.approx(peak, rel=0.01)
    assert profile.int8_dense_tops == pytest.approx(2 * peak, rel=0.01)


def test_advertised_sparse_rate_is_no_dense_rate() -> None:
    nano = load_profile("jetson-orin-nano-super")
    assert nano.advertised_sparse_tops == 67
    assert nano.int8_dense_tops == pytest.approx(33.4)
    assert nano.source_of("memory_gb").verified
    assert not nano.source_of("power_modes_w").verified


def test_verified_needs_a_page_for_what_decides_speed() -> None:
    assert load_profile("jetson-orin-nano-super").verified
    assert not load_profile("jetson-orin-nx-8gb").verified
    assert not load_profile("generic-cpu").verified


def test_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown device 'jetson-orinnano'") as caught:
        load_profile("jetson-orinnano")
    assert caught.value.hint == "did you mean 'jetson-orin-nano'?"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gpu_clock_mhz = 1020", "gpu_clock_mhz = -1020", "gpu_clock_mhz"),
        ("gpu_clock_mhz = 1020", "gpu_clock_mhz = 0", "gpu_clock_mhz"),
        ("gpu_clock_mhz = 1020", "gpu_clock_mhz = inf", "gpu_clock_mhz"),
        ("gpu_clock_mhz = 1020", 'gpu_clock_mhz = "1020"', "gpu_clock_mhz"),
        ("gpu_clock_mhz = 1020", "gpu_clock_mhz = 102", "fp32_tflops: 2.09 does not fit"),
        ("gpu_clock_mhz = 1020", "clock_mhz = 1020", "unknown key 'clock_mhz'"),
        ("gpu_clock_mhz = 1020", "gpu_clock_mhz = 1020e6", "gpu_clock_mhz: 1.02e+09 is more than"),
        ("bandwidth_gbs = 102.0", "bandwidth_gbs = 102e6", "bandwidth_gbs: 1.02e+08 is more than"),
        ("memory_gb = 8", "memory_gb = 8e9", "memory_gb: 8e+09 is more than any device has"),
        (
            "bandwidth_gbs = 102.0",
            "bandwidth_gbs = 1e-300",
            "bandwidth_gbs: 1e-300 is less than any device has; 0.1 to 100000 are accepted",
        ),
        ("cpu_cores = 6", "cpu_cores = 100000000", "cpu_cores: 100000000 is more than any device"),
        ("cpu_cores = 6", f"cpu_cores = 1{'0' * 400}", "cpu_cores: 1000"),
        ("memory_gb = 8", f"memory_gb = 8{'0' * 400}", "memory_gb: "),
        ("tensor_cores = 32", "tensor_cores = 99999999", "tensor_cores: 99999999 is more than any"),
        ('sm = "8.7"', 'sm = "99.9"', "sm: 99.9 is more than any device has; 1 to 40 are accepted"),
        ('sm = "8.7"', 'sm = "0.0"', "sm: 0 is less than any device has; 1 to 40 are accepted"),
        (
            "fp16_dense_tflops = 16.7",
            "fp16_dense_tflops = 5000000",
            "fp16_dense_tflops: 5e+06 is more than any device has; 0.0001 to 100000 are accepted",
        ),
        (
            "fp16_dense_tflops = 16.7",
            "fp16_dense_tflops = 90000",
            "fp16_dense_tflops: 90000 is more than 256 times fp32_tflops, 2.09; 2.09 to 535.04 are",
        ),
        ("power_modes_w = [7, 15, 25]", "power_modes_w = [1e9, 15]", "power_modes_w: 1e+09 is"),
        ("power_modes_w = [7, 15, 25]", "power_modes_w = [7, 0.00001]", "power_modes_w: 1e-05 is"),
        ("cpu_clock_mhz = 1700", "cpu_clock_mhz = 1e-305", "cpu_clock_mhz: 1e-305 is less than"),
        ('cpu = "6x', 'cpu = "\\u001b[31m6x', "cpu: control characters are not accepted (found "),
        ('model = ["', 'model = ["\\u0007', "match.model.0: control characters are not accepted"),
        ("gpu_sms = 8", "gpu_sms = 7", "cuda_cores: 1024 cannot be shared evenly by 7 SMs"),
        ("latency_budget_ms = 33.3", "latency_budget_ms = 0", "latency_budget_ms"),
        ("int8_dense_tops = 33.4", "int8_dense_tops = 3.34", "int8_dense_tops: 3.34 is below fp16"),
        ("advertised_sparse_tops = 67", "advertised_sparse_tops = 6", "advertised_sparse_tops"),
        ('sm = "8.7"', 'sm = "87"', "sm: '87' is not accepted; a number and one more digit"),
        (
            'name = "jetson-orin-nano-super"',
            'name = "My Board"',
            "name: 'My Board' is not accepted",
        ),
        ('kind = "jetson"', 'kind = "tpu"', "kind"),
        ("power_modes_w = [7, 15, 25]", "power_modes_w = [7, -15]", "power_modes_w.1"),
        ('of = ["sm"]', 'of = ["gpu_sms"]', "'gpu_sms' has more than one source"),
        ('of = ["sm"]', 'of = ["clock"]', "names 'clock'"),
        ('verified = true\nof = ["sm"]', 'of = ["sm"]', "'source.0.verified' is missing"),
        ('name = "jetson-orin-nano-super"', 'name = "other"', "differs from the file's name"),
        ("cuda_cores = 1024", "cuda_cores = ", "is not valid TOML"),
    ],
)
def test_bad_profile_names_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (profiles_directory() / "jetson-orin-nano-super.toml").read_text()
    assert old in text
    path = tmp_path / "jetson-orin-nano-super.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        read_profile(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("value", ["[" * 3000 + "]" * 3000, "9" * 5000], ids=["deep", "digits"])
def test_a_value_that_no_parser_takes_is_no_toml(tmp_path: Path, value: str) -> None:
    path = tmp_path / "board.toml"
    path.write_text(f'name = "board"\ntitle = "Board"\nkind = "cpu"\ncpu_cores = {value}\n')
    with pytest.raises(UsageError, match=r"board\.toml' is not valid TOML: "):
        read_profile(path)


@pytest.mark.parametrize(
    ("old", "new", "key", "near"),
    [
        ("gpu_clock_mhz = 1020", "gpu_clock_mz = 1020", "gpu_clock_mz", "gpu_clock_mhz"),
        ("model = [", "modle = [", "match.modle", "model"),
        ("verified = true", "verifyed = true", "source.0.verifyed", "verified"),
    ],
)
def test_unknown_key_is_answered_with_the_nearest(
    tmp_path: Path, old: str, new: str, key: str, near: str
) -> None:
    text = (profiles_directory() / "jetson-orin-nano-super.toml").read_text()
    path = tmp_path / "jetson-orin-nano-super.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        read_profile(path)
    assert f"unknown key {key!r}" in str(caught.value)
    assert caught.value.hint == f"did you mean {near!r}?"


def test_figure_without_source_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text('name = "board"\ntitle = "Board"\nkind = "cpu"\nmemory_gb = 4\n')
    with pytest.raises(UsageError, match="memory_gb: has no source"):
        read_profile(path)


def test_a_profile_of_ones_own_is_loaded_by_path(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text('name = "board"\ntitle = "My board"\nkind = "cpu"\n')
    assert load_profile(str(path)).title == "My board"
    with pytest.raises(UsageError, match="cannot be read"):
        load_profile(str(tmp_path / "absent.toml"))


def fake_machine(root: Path, model: str, compatible: list[str], memory_kb: int, l4t: str) -> Path:
    tree = root / "proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "model").write_text(model + "\0")
    (tree / "compatible").write_text("\0".join(compatible) + "\0")
    (root / "proc/meminfo").write_text(f"MemTotal:       {memory_kb} kB\nMemFree: 1 kB\n")
    (root / "etc").mkdir()
    (root / "etc/nv_tegra_release").write_text(l4t)
    return root


R36 = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed\n"
ORIN_NANO = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit"


@pytest.mark.parametrize(
    ("model", "compatible", "memory_kb", "expected"),
    [
        (
            ORIN_NANO + " Super",
            ["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"],
            7_800_000,
            "jetson-orin-nano-super",
        ),
        (
            ORIN_NANO,
            ["nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234"],
            7_800_000,
            "jetson-orin-nano",
        ),
        ("Jetson AGX Orin", ["nvidia,p3701-0005", "nvidia,tegra234"], 64_000_000,
         "jetson-agx-orin-64gb"),
        # Carrier boards of others: no part number, so name and memory decide.
        ("Someone's Orin Nano", ["someone,board", "nvidia,tegra234"], 3_900_000,
         "jetson-orin-nano-4gb"),
        ("Jetson AGX Orin", ["someone,board", "nvidia,tegra234"], 31_000_000,
         "jetson-agx-orin-32gb"),
        ("NVIDIA Jetson Nano Developer Kit", ["nvidia,p3450-0000", "nvidia,tegra210"], 4_000_000,
         "jetson-nano"),
        ("Jetson-AGX", ["someone,board", "nvidia,tegra194"], 32_000_000, "jetson-agx-xavier"),
        ("NVIDIA Jetson TX1", ["nvidia,p2371-2180", "nvidia,tegra210"], 4_000_000, "generic-cuda"),
    ],
)  # fmt: skip
def test_jetson_is_recognised(
    tmp_path: Path, model: str, compatible: list[str], memory_kb: int, expected: str
) -> None:
    machine = detect(fake_machine(tmp_path, model, compatible, memory_kb, R36))
    assert machine.profile == expected
    assert machine.kind == "jetson"
    assert machine.name == model
    assert machine.memory_gb == pytest.approx(memory_kb * 1024 / 1e9, abs=0.06)
    assert machine.board is not None
    assert (machine.board.l4t, machine.board.jetpack) == ("36.4.3", "6.2")


def test_a_board_whose_device_tree_is_hidden_is_still_a_board(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text(R36)
    machine = detect(tmp_path)
    assert (machine.kind, machine.profile) == ("jetson", "generic-cuda")
    assert machine.board is not None
    assert machine.board.jetpack == "6.2"
    assert "device tree cannot be read" in machine.notes[0]


def fake_nvidia_smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_gpu_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia_smi(
        tmp_path,
        'echo "NVIDIA H100 80GB HBM3, 81559, 570.86, 9.0"; echo "NVIDIA L4, 23034, 570.86, 8.9"',
        monkeypatch,
    )
    machine = detect()
    assert (machine.profile, machine.kind) == ("h100-sxm-80gb", "cuda")
    assert [gpu.memory_gb for gpu in machine.gpus] == [85.5, 24.2]


@pytest.mark.parametrize(
    ("answer", "profile"),
    [
        ("NVIDIA GeForce RTX 4090 Laptop GPU, 16376, 570.86, 8.9", "generic-cuda"),
        ("NVIDIA GeForce RTX 4090, 24564, 570.86, 8.9", "rtx-4090"),
        ("NVIDIA L40, 46068, 570.86, 8.9", "generic-cuda"),
        ("NVIDIA H200, 143771, [N/A], 9.0", "h200-sxm-141gb"),
    ],
)
def test_gpu_names_are_not_mixed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, profile: str
) -> None:
    fake_nvidia_smi(tmp_path, f'echo "{answer}"', monkeypatch)
    assert detect().profile == profile


def test_driver_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia_smi(tmp_path, "echo 'NVIDIA-SMI has failed'; exit 9", monkeypatch)
    machine = detect()
    assert machine.profile == "generic-cpu"
    assert machine.notes == ("nvidia-smi is installed, but the driver lists no GPU",)


def test_this_machine(tmp_path: Path) -> None:
    if shutil.which("nvidia-smi") or Path("/proc/device-tree/model").exists():
        pytest.skip("this machine has a GPU or is a board")
    machine = detect()
    assert (machine.profile, machine.kind, machine.board) == ("generic-cpu", "cpu", None)
    assert machine.memory_gb > 0
    assert machine.cores >= 1


def own_profile(folder: Path, kind: str, rest: str) -> DeviceProfile:
    path = folder / "my-board.toml"
    path.write_text(f'name = "my-board"\ntitle = "My board"\nkind = "{kind}"\n{rest}')
    return read_profile(path)


CPU = '\n[[source]]\ntext = "devices detect"\nverified = true\nof = ["cpu"]\n'


@pytest.mark.parametrize(
    ("rest", "fits"),
    [(f'cpu = "Some  CPU 9"\n{CPU}', True), (f'cpu = "Some CPU 99"\n{CPU}', False), ("", False)],
)
def test_a_profile_of_a_cpu_is_of_the_one_that_it_names(
    tmp_path: Path, rest: str, fits: bool
) -> None:
    machine = recognise(tmp_path, cpu="Some CPU 9", cores=4, gpus=[])
    assert is_device(machine, own_profile(tmp_path, "cpu", rest)) is fits
    assert is_device(machine, load_profile("generic-cpu"))
    assert not is_device(machine, load_profile("amd-epyc-1-core"))
    assert not is_device(machine, load_profile("generic-cuda"))


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ('compatible = ["p3767-0005-super"]', True),
        # The machine is more than that: its own profile names the longer part.
        ('compatible = ["p3767-0005"]', False),
        ('compatible = ["p9999-0000"]', False),
        ('model = ["Carrier Of Someone"]', False),
    ],
)
def test_a_board_is_that_of_a_profile_of_ones_own(tmp_path: Path, match: str, fits: bool) -> None:
    parts = ["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"]
    machine = detect(fake_machine(tmp_path / "root", ORIN_NANO + " Super", parts, 7_800_000, R36))
    own = own_profile(tmp_path, "jetson", f"[match]\n{match}\n")
    assert is_device(machine, own) is fits
    assert is_device(machine, load_profile("jetson-orin-nano-super"))
    assert is_device(machine, load_profile("generic-cuda"))
    assert not is_device(machine, load_profile("jetson-orin-nano"))


@pytest.mark.parametrize(("gpu", "fits"), [("RTX 9999", True), ("RTX 999", False)])
def test_a_gpu_is_that_of_a_profile_of_ones_own(tmp_path: Path, gpu: str, fits: bool) -> None:
    gpus = parse_gpus("NVIDIA GeForce RTX 9999, 24564, 570.86, 12.0")
    machine = recognise(tmp_path, cpu="Some CPU 9", cores=4, gpus=gpus)
    own = own_profile(tmp_path, "cuda", f'[match]\ngpu = ["{gpu}"]\n')
    assert is_device(machine, own) is fits


def test_a_device_to_measure_on_has_a_profile_by_name_or_by_file(tmp_path: Path) -> None:
    own = own_profile(tmp_path, "cpu", "")
    path = str(tmp_path / "my-board.toml")
    assert (profile_of("cpu"), profile_of("cuda"), profile_of(path)) == (None, None, own)
    assert [device_name(device) for device in ("cpu", "l4-24gb", path)] == [
        *("cpu", "l4-24gb", "my-board")
    ]
    with pytest.raises(UsageError, match="unknown device 'my-board'; accepted: cpu, cuda, a100"):
        profile_of("my-board")


def _cells(profile: DeviceProfile) -> list[str]:
    numbers = (profile.fp16_dense_tflops, profile.int8_dense_tops, profile.memory_gb)
    return [
        profile.name,
        profile.sm or "",
        *("" if number is None else f"{number:g}" for number in (*numbers, profile.bandwidth_gbs)),
        "yes" if profile.verified else "no",
    ]


def test_the_table_in_the_documentation_is_that_of_the_profiles() -> None:
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in DOCUMENT.read_text().splitlines()
        if re.match(r"\| `[a-z0-9-]+` \|", line)
    ]
    assert rows == [_cells(load_profile(name)) for name in profile_names() if "generic" not in name]


def test_the_example_in_the_documentation_is_valid(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert example is not None
    path = tmp_path / "my-board.toml"
    path.write_text(example.group(1))
    assert load_profile(str(path)).figures().keys() == {
        "gpu_clock_mhz",
        "memory_gb",
        "bandwidth_gbs",
    }
    keys = set(DeviceProfile.model_fields) - {"name", "title", "kind", "match", "source"}
    assert {key for key in keys if key not in DOCUMENT.read_text()} == set()
