"""Reading trtexec's output, from public logs of TensorRT 7 to 10; no log here is of a board."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.benchmarking.trtexec import TrtexecRun, parse, version
from edgeprune.errors import ResultError

SAMPLES = Path(__file__).parent / "samples"
LOGS = {
    name: (SAMPLES / f"trtexec_{name}.txt").read_text()
    for name in (
        "v8205_T4_yolo",
        "v100900_rtx3070_resnet50",
        "v7_v8_oldformat",
        "agx_orin32_fragment",
    )
}


def test_tensorrt_8() -> None:
    run = parse(LOGS["v8205_T4_yolo"])
    assert (run.version, run.device, run.sm, run.passed) == ("8.2.5", "Tesla T4", "7.5", True)
    assert run.command == "trtexec --loadEngine=model.trt"
    assert (run.throughput_qps, run.gpu_clock_ghz) == (40.997, 1.59)
    assert run.gpu_compute_ms is not None
    assert run.gpu_compute_ms.median == 23.8456
    assert run.gpu_compute_ms.percentiles == {99: 25.2888}
    assert run.latency_ms is not None
    assert run.latency_ms.mean == 34.6638
    assert run.end_to_end_ms is not None
    assert run.end_to_end_ms.max == 51.0674
    assert (run.host_walltime_s, run.gpu_time_s) == (3.0734, 3.00431)
    assert (run.engine_mib, run.warnings) == (None, ())


def test_tensorrt_10() -> None:
    run = parse(LOGS["v100900_rtx3070_resnet50"])
    assert (run.version, run.sm, run.gpu_clock_ghz) == ("10.9.0", "8.6", 1.845)
    assert (run.engine_mib, run.context_mib) == (101.811, 7.84766)
    assert run.latency_ms is not None
    assert run.latency_ms.percentiles == {90: 1.45624, 95: 1.71796, 99: 2.61597}
    assert run.h2d_ms is not None
    assert run.d2h_ms is not None
    assert run.enqueue_ms is not None
    assert run.end_to_end_ms is None
    assert "unstable, with coefficient of variance = 13.1794%" in run.warnings[0]


def test_a_block_of_lines_before_tensorrt_8_2() -> None:
    run = parse(LOGS["v7_v8_oldformat"])
    assert run.latency_ms is not None
    assert (run.latency_ms.min, run.latency_ms.median) == (1.64058, 1.65601)
    assert run.latency_ms.percentiles == {99: 1.67065}
    assert run.throughput_qps is None  # "0 qps" beside good latencies
    assert run.host_walltime_s == 3.00461


def test_a_fragment_of_a_board() -> None:
    run = parse(LOGS["agx_orin32_fragment"])
    assert run.latency_ms is not None
    assert run.latency_ms.median == 76.3436
    assert (run.gpu_compute_ms, run.passed, run.version) == (None, None, None)


def test_headers_alone_hold_no_latency() -> None:
    text = (SAMPLES / "trtexec_orin_device_headers.txt").read_text()
    with pytest.raises(ResultError, match="holds no latency"):
        parse(text)


@pytest.mark.parametrize(
    ("digits", "expected"),
    [
        ("8205", "8.2.5"), ("8502", "8.5.2"), ("8601", "8.6.1"), ("100300", "10.3.0"),
        ("101303", "10.13.3"), ("110000", "11.0.0"), ("7", None),
    ],
)  # fmt: skip
def test_version_of_the_banner(digits: str, expected: str | None) -> None:
    assert version(digits) == expected


def test_a_failed_run_names_its_first_error() -> None:
    text = (
        "[09/01/2025-18:07:04] [E] Error[4]: no such file model.onnx\n"
        "[09/01/2025-18:07:04] [E] Parsing model failed\n"
        "&&&& FAILED TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=model.onnx\n"
    )
    with pytest.raises(ResultError, match=r"trtexec failed: Error\[4\]: no such file"):
        parse(text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("median = 23.8456 ms", "median = 93.8456 ms", "lies outside of"),
        ("median = 23.8456 ms", "median = nan ms", "nan"),
        ("min = 20.9889 ms", "min = -20.9889 ms", "-20.9889"),
        ("median = 23.8456 ms, ", "", "no median"),
        ("Throughput: 40.997 qps", "Throughput: inf qps", "inf"),
        ("percentile(99%) = 25.2888 ms", "percentile(199%) = 25.2888 ms", "no such percentile"),
    ],
)
def test_figures_that_cannot_be_true_are_refused(old: str, new: str, message: str) -> None:
    text = LOGS["v8205_T4_yolo"]
    assert old in text
    with pytest.raises(ResultError, match=message):
        parse(text.replace(old, new))


def check_sound(run: TrtexecRun) -> None:
    assert run.latency_ms is not None or run.gpu_compute_ms is not None
    for times in (run.latency_ms, run.gpu_compute_ms, run.h2d_ms, run.d2h_ms, run.enqueue_ms):
        if times is not None:
            assert 0 <= times.min <= times.max * 1.001
            assert times.min * 0.999 <= times.median <= times.max * 1.001
    assert run.throughput_qps is None or run.throughput_qps > 0


@given(name=st.sampled_from(sorted(LOGS)), data=st.data())
def test_damage_is_refused_or_leaves_sound_figures(name: str, data: st.DataObject) -> None:
    text = LOGS[name]
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 40))
    noise = data.draw(st.text("0123456789.-+en:=%() \nms[]&", max_size=12))
    try:
        run = parse(text[:start] + noise + text[start + length :])
    except ResultError:
        return
    check_sound(run)


@given(name=st.sampled_from(sorted(LOGS)), data=st.data())
def test_a_log_that_breaks_off_invents_nothing(name: str, data: st.DataObject) -> None:
    whole = parse(LOGS[name])
    try:
        part = parse(LOGS[name][: data.draw(st.integers(0, len(LOGS[name])))])
    except ResultError:
        return
    for key in ("latency_ms", "gpu_compute_ms"):
        times = getattr(part, key)
        if times is not None:
            assert times.median == getattr(whole, key).median


@given(st.text())
def test_any_text_is_refused_or_read(text: str) -> None:
    with contextlib.suppress(ResultError):
        check_sound(parse(text))
