"""Reading tegrastats, from public lines of JetPack 4 to 7."""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.benchmarking.tegrastats import Core, Rail, Sample, parse_line, parse_log
from edgeprune.errors import ResultError

LINES = {
    line.split("|")[0]: line.split("|", 3)[3]
    for line in (Path(__file__).parent / "samples/tegrastats.txt").read_text().splitlines()
    if not line.startswith("#") and line.count("|") >= 3
}
# board: cores, cores that are off, GPU %, GPU MHz, RAM total, board mW
EXPECTED = {
    "tx1": (4, 0, 0, (76,), 3983, 2532),
    "tx2": (6, 2, 0, (624,), 7852, 3056),
    "nano": (4, 0, 0, (76,), 3964, 1022),
    "agx_xavier": (8, 4, 0, (318,), 31927, 0 + 311 + 932 + 0 + 621 + 1482),
    "xavier_nx": (6, 0, 62, (306,), 7772, 4067),
    "orin_nx_r35": (8, 4, 0, (611,), 15388, 5299),
    "agx_orin_r36": (12, 0, 0, (305, 305), 30697, 3205 + 4405 + 4767),
    "agx_orin_r36_nosudo": (12, 0, 0, (), 62840, 4940 + 988 + 4442),
    "agx_orin_2gpc": (12, 0, 0, (114, 114), 30623, 4788 + 798 + 3842),
    "agx_orin_64": (12, 0, 0, (0, 0), 62801, 2340 + 390 + 4025),
    "orin_nano_r36_root": (6, 0, 0, (305,), 7620, 2957),
    "orin_nano_r36_user": (6, 0, 0, (), 7620, 4742),
    "orin_nano_r39": (6, 0, 33, (), 7546, 9761),
    "agx_orin_jp72": (12, 0, 32, (), 62817, 4385 + 1196 + 5552),
}


def test_every_sample_is_expected() -> None:
    assert set(LINES) == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_board(name: str) -> None:
    sample = parse_line(LINES[name])
    cores, off, gpu, mhz, ram, power = EXPECTED[name]
    assert (len(sample.cpus), sample.cpus.count(None)) == (cores, off)
    assert (sample.gpu_percent, sample.gpu_mhz) == (gpu, mhz)
    assert sample.ram_total_mib == ram
    assert sample.board_mw == power
    assert sample.temperatures_c
    assert min(sample.temperatures_c.values()) > 0


def test_a_line_in_full() -> None:
    sample = parse_line(LINES["agx_orin_jp72"])
    assert sample.time == datetime(2026, 7, 17, 15, 15, 27)
    assert (sample.ram_used_mib, sample.swap_total_mib) == (8179, None)
    assert sample.cpus[0] == Core(percent=35, mhz=729)
    assert (sample.emc_percent, sample.emc_mhz) == (None, None)
    assert sample.temperatures_c["gpu"] == 47.125
    assert sample.rails["VDD_GPU_SOC"] == Rail(now_mw=4385, average_mw=3787, max_mw=4385)


def test_root_sees_the_memory_clock() -> None:
    sample = parse_line(LINES["xavier_nx"])
    assert (sample.emc_percent, sample.emc_mhz) == (10, 1600)
    assert (sample.swap_used_mib, sample.swap_total_mib) == (139, 3886)
    assert sample.rails["VDD_IN"] == Rail(now_mw=4067, average_mw=4067)


def test_a_rail_named_like_a_temperature_and_zones_that_are_off() -> None:
    xavier = parse_line(LINES["agx_xavier"])
    assert (xavier.rails["GPU"].now_mw, xavier.temperatures_c["GPU"]) == (0, 37.5)
    orin = parse_line(LINES["agx_orin_64"])
    assert "GPU" not in orin.temperatures_c  # -256 C
    assert "NC" not in orin.rails


def test_a_log_leaves_out_the_unfinished_line() -> None:
    log = "\n".join([LINES["nano"], LINES["nano"], LINES["nano"][:-4]])
    assert [sample.board_mw for sample in parse_log(log)] == [1022, 1022]
    with pytest.raises(ResultError, match="no complete line"):
        parse_log(LINES["nano"])
    with pytest.raises(ResultError, match="line 2 of the tegrastats log: 'Segmentation fault'"):
        parse_log(LINES["nano"] + "\nSegmentation fault\n")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("RAM 534/3964MB", "RAM 5340/3964MB", "5340 MB are used of 3964"),
        ("RAM 534/3964MB", "RAM 534/3964", "no RAM"),
        ("16%@204", "1" * 5000 + "%@204", "is no load of a core"),
        ("16%@204", "160%@204", "160 % are more than all"),
        ("16%@204", "x%@204", "'x%@204' is no load of a core"),
        ("GR3D_FREQ 0%", "GR3D_FREQ 101%", "101 %"),
        ("RAM 534", "13-41-2025 10:00:00 RAM 534", "is no time"),
    ],
)
def test_figures_that_cannot_be_true_are_refused(old: str, new: str, message: str) -> None:
    assert old in LINES["nano"]
    with pytest.raises(ResultError, match=message):
        parse_line(LINES["nano"].replace(old, new))


def check_sound(sample: Sample) -> None:
    assert 0 <= sample.ram_used_mib <= sample.ram_total_mib
    assert all(core is None or 0 <= core.percent <= 100 for core in sample.cpus)
    assert sample.gpu_percent is None or 0 <= sample.gpu_percent <= 100
    assert all(rail.now_mw >= 0 for rail in sample.rails.values())
    assert all(c > -200 for c in sample.temperatures_c.values())


@given(name=st.sampled_from(sorted(LINES)), data=st.data())
def test_damage_is_refused_or_leaves_sound_figures(name: str, data: st.DataObject) -> None:
    text = LINES[name]
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 30))
    noise = data.draw(st.text("0123456789/%@[],- mWCVDRAM_", max_size=12))
    try:
        sample = parse_line(text[:start] + noise + text[start + length :])
    except ResultError:
        return
    check_sound(sample)


@given(st.text())
def test_any_text_is_refused_or_read(text: str) -> None:
    with contextlib.suppress(ResultError):
        check_sound(parse_line(text))
