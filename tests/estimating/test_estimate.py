"""Estimates: what is traced, the roofline, where it is refused, and what is said about it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgeprune import costs
from edgeprune.cli import main
from edgeprune.devices import load_profile, profiles_directory
from edgeprune.errors import UsageError
from edgeprune.estimating.calibration import calibration_for, calibrations
from edgeprune.estimating.layers import KINDS, PRODUCT, Kernel, trace
from edgeprune.estimating.published import published
from edgeprune.estimating.roofline import columns, kernel_times, rates
from edgeprune.result_files import read_bench

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "devices.md"


def network(name: str) -> nn.Module:
    with torch.device("meta"):
        module: nn.Module = timm.create_model(name)
    return module


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_tiny_patch16_224", 224), ("beit_base_patch16_224", 224), ("resnet18", 64),
        ("swin_tiny_patch4_window7_224", 224), ("mobilenetv2_100", 96),
    ],
)  # fmt: skip
def test_the_trace_holds_every_multiplication(name: str, size: int) -> None:
    module = network(name)
    kernels = trace(module, size)
    assert sum(kernel.macs for kernel in kernels) == costs.count(module, size).macs
    assert {kernel.kind for kernel in kernels} <= set(KINDS)


def test_a_batch_multiplies_rows_not_weights() -> None:
    module = network("vit_tiny_patch16_224")
    one, four = trace(module, 224), trace(module, 224, batch=4)
    assert len(one) == len(four)
    assert sum(k.macs for k in four) == 4 * sum(k.macs for k in one)
    assert sum(k.weights for k in four) == sum(k.weights for k in one)


def test_the_operators_of_one_block() -> None:
    kernels = [k for k in trace(network("vit_tiny_patch16_224"), 224) if "blocks.3" in k.layer]
    shapes = [(k.layer, k.count, k.m, k.n, k.k) for k in kernels if k.macs]
    assert shapes == [
        ("blocks.3.attn.qkv", 1, 197, 576, 192),
        ("blocks.3.attn", 3, 197, 197, 64),
        ("blocks.3.attn", 3, 197, 64, 197),
        ("blocks.3.attn.proj", 1, 197, 192, 192),
        ("blocks.3.mlp.fc1", 1, 197, 768, 192),
        ("blocks.3.mlp.fc2", 1, 197, 192, 768),
    ]
    assert [k.kind for k in kernels].count("softmax") == 1
    assert [k.kind for k in kernels].count("normalisation") == 2


def test_batch_norm_is_part_of_the_convolution_before_it() -> None:
    kinds = [kernel.kind for kernel in trace(network("resnet18"), 64)]
    assert kinds[:2] == ["convolution", "clipping"]


def product(m: int, n: int, k: int) -> Kernel:
    return Kernel("layer", PRODUCT, 1, m, n, k, m * k, k * n, m * n, fused=False)


def seconds(kernel: Kernel, device: str) -> float:
    profile = load_profile(device)
    how = calibration_for(profile)
    device_rates = rates(profile, how.precisions[0])
    return float(kernel_times(columns([kernel]), device_rates, how.coefficients).total[0])


@given(
    m=st.integers(1, 2000), n=st.integers(1, 4000), k=st.integers(1, 4000),
    device=st.sampled_from(["jetson-nano", "jetson-agx-orin-64gb"]),
)  # fmt: skip
def test_more_work_is_never_faster(m: int, n: int, k: int, device: str) -> None:
    base = seconds(product(m, n, k), device)
    assert 0 < base < 60
    for wider in ((m + 1, n, k), (m, n + 1, k), (m, n, k + 1)):
        assert seconds(product(*wider), device) >= base * (1 - 1e-12)


def test_compute_goes_in_tiles_and_by_the_profile() -> None:
    profile = load_profile("jetson-orin-nano")
    how = calibration_for(profile)
    work = columns([product(197, n, 384) for n in (320, 321, 352)])
    compute = kernel_times(work, rates(profile, "fp16"), how.coefficients).compute
    assert compute[0] < compute[1] == compute[2]
    faster = dataclasses.replace(rates(profile, "fp16"), flops=2 * rates(profile, "fp16").flops)
    halves = kernel_times(work, faster, how.coefficients).compute
    assert halves == pytest.approx(compute / 2)


def test_precision_changes_rate_and_traffic() -> None:
    orin, nano = load_profile("jetson-orin-nano"), load_profile("jetson-nano")
    assert rates(orin, "fp32").flops == rates(orin, "fp16").flops / 2  # TF32
    assert rates(orin, "fp32").element_bytes == 4
    assert not rates(nano, "fp16").tensor_cores
    xavier = load_profile("jetson-xavier-nx")
    assert rates(xavier, "fp16").tensor_cores
    assert not rates(xavier, "fp32").tensor_cores  # Volta has no TF32


def test_published_latencies_have_a_source_and_a_device() -> None:
    table = published()
    assert len(table) > 150
    for entry in table:
        assert load_profile(entry.device).kind == "jetson"
        assert entry.source
        assert entry.latency_ms > 0
        assert entry.calibrates == (bool(entry.network) and entry.precision == "fp16")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("generic-cuda", "holds no figures to estimate from"),
        ("h100-sxm-80gb", "no calibration for cuda devices such as 'h100-sxm-80gb'"),
        ("generic-cpu", "holds no figures to estimate from"),
        ("jetson-thor-t5000", "its peak of 258 TFLOPS is not within 0.472 to 42.6"),
    ],
)
def test_devices_outside_of_the_range_are_refused(device: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        calibration_for(load_profile(device))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('cpu = "AMD', 'cpu = "Intel', r"its cpu is 'Intel EPYC .*', 'AMD EPYC .*' was expected"),
        ("cpu_cores = 1", "cpu_cores = 64", "its cpu_cores is 64, 1 was expected"),
        ("_mhz = 2596", "_mhz = 5200", "its cpu_clock_mhz is 5200.0, 2596.0 was expected"),
        ("_mhz = 2596\n", "_mhz = 2600\n", None),
    ],
)
def test_a_profile_of_another_cpu_is_refused(
    tmp_path: Path, old: str, new: str, message: str | None
) -> None:
    text = (profiles_directory() / "amd-epyc-1-core.toml").read_text()
    assert old in text
    path = tmp_path / "my-cpu.toml"
    path.write_text(text.replace('"amd-epyc-1-core"', '"my-cpu"').replace(old, new))
    profile = load_profile(str(path))
    if message is None:
        assert calibration_for(profile).runtime == "onnxruntime"
        return
    with pytest.raises(UsageError, match=f"'my-cpu' is not the CPU that .*: {message}"):
        calibration_for(profile)


def test_no_estimate_is_made_of_an_impossible_clock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (profiles_directory() / "amd-epyc-1-core.toml").read_text()
    path = tmp_path / "my-cpu.toml"
    path.write_text(text.replace('"amd-epyc-1-core"', '"my-cpu"').replace("= 2596", "= 1e-305"))
    command = ["bench", "vit_tiny_patch16_224", "--estimate", "--device", str(path)]
    assert main(command) == 2
    assert "cpu_clock_mhz: 1e-305 is less than any device has; 50 to" in capsys.readouterr().err


def test_sizes_outside_of_the_range_are_refused_or_warned_of() -> None:
    calibration = calibration_for(load_profile("jetson-nano"))
    low, high = calibration.macs
    assert calibration.check_size("x", int(high)) is None
    assert "MACs per call; estimates are calibrated on" in (
        calibration.check_size("x", int(2 * high)) or ""
    )
    for macs in (int(high * 6), int(low / 6)):
        with pytest.raises(UsageError, match="lies outside of what estimates are calibrated for"):
            calibration.check_size("x", macs)


def test_a_profile_without_the_figure_that_is_needed(tmp_path: Path) -> None:
    text = (profiles_directory() / "jetson-orin-nano.toml").read_text()
    path = tmp_path / "my-board.toml"
    path.write_text(
        text.replace('name = "jetson-orin-nano"', 'name = "my-board"')
        .replace("gpu_clock_mhz = 625\n", "")
        .replace('"gpu_clock_mhz", ', "")
    )
    with pytest.raises(UsageError, match="'my-board' has no gpu_clock_mhz"):
        rates(load_profile(str(path)), "fp16")


def test_the_documentation_states_the_errors() -> None:
    text = " ".join(DOCUMENT.read_text().split())
    for calibration in calibrations():
        errors = calibration.errors
        assert f"{errors.median_percent:g} %" in text, calibration.name
        assert f"factor of {errors.factor95:.2f}" in text, calibration.name


TINY = ["bench", "vit_tiny_patch16_224", "--estimate", "--device", "jetson-orin-nano"]


def test_estimates_are_marked_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    command = [*TINY, "--baseline", "deit_tiny_distilled_patch16_224", "-o", str(file)]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Estimated, not measured: tensorrt, jetson-orin-nano, fp16")
    assert max(map(len, shown.splitlines())) <= 80
    assert "within" in shown

    result = read_bench(file)
    assert result.environment["estimated"] is True
    for row in result.measurements:
        assert row.estimated
        assert (row.samples, row.raw) == (0, None)
        assert (row.latency_ms.min, row.latency_ms.p90, row.energy_mj) == (None, None, None)
        low, high = row.latency_ms.ci95
        assert low < row.latency_ms.p50 < high
        assert row.layers is not None
        total = sum(layer.latency_ms for layer in row.layers)
        assert total == pytest.approx(row.latency_ms.p50)
        assert sum(layer.macs for layer in row.layers) == row.macs
    ((comparison),) = result.comparisons
    assert comparison.ci95[0] < comparison.speedup < comparison.ci95[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--device", "cpu"], 2, "an estimate needs a device profile, not 'cpu'"),
        (["--precision", "int8"], 2, "no calibration of tensorrt in int8; accepted: fp16, fp32"),
        (["--runtime", "torch"], 2, "are of tensorrt, not of 'torch'"),
        (["--threads", "2"], 2, "--threads is for measurements"),
        (["--batch", "0"], 2, "batch 0 is not accepted"),
        (["--batch", "4096"], 2, "lies outside of what estimates are calibrated for"),
        (["--device", "jetson-orin-nao"], 2, "unknown device 'jetson-orin-nao'"),
        (["model.onnx"], 2, "reads the layers of a network, not of an ONNX file"),
    ],
)
def test_what_cannot_be_estimated_is_refused(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, *arguments]) == code
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


def test_the_document_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--precision", "fp32", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgeprune/bench@1"
    (row,) = document["measurements"]
    assert (row["estimated"], row["precision"], row["runtime"]) == (True, "fp32", "tensorrt")
    assert np.isfinite(row["latency_ms"]["p50"])
