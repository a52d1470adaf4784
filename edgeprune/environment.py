"""What this machine is and which versions are installed: facts that stand beside every result."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

# What decides the numbers in an artifact; recorded in every one.
ARTIFACT_PACKAGES = ("edgeprune", "torch", "timm", "torch-pruning")

# Read by OpenMP, MKL, OpenBLAS, BLIS, NumExpr and Accelerate when they are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

# Settings of glibc; this one has malloc ask for huge pages (madvise).
TUNABLES = "GLIBC_TUNABLES"
HUGE_PAGES = "glibc.malloc.hugetlb=1"


def version_of(package: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def artifact_versions() -> dict[str, str]:
    """Return the versions that an artifact depends on."""
    found = {package: version_of(package) for package in ARTIFACT_PACKAGES}
    return {
        "python": platform.python_version(),
        **{package: version for package, version in found.items() if version},
    }


def cpu_name(root: Path = Path("/")) -> str:
    """Return the CPU's name as the system whose files lie under ``root`` gives it."""
    try:
        for line in (root / "proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def read_line(path: Path) -> str | None:
    """Return the text of a small system file without its final newline; None if there is none."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def read_count(path: Path) -> int | None:
    """Return the whole number in a small system file; None if there is none."""
    text = read_line(path)
    return int(text) if text is not None and text.isdigit() else None


def available_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_environment(threads: int, huge_pages: bool = False) -> dict[str, str]:
    """Return the environment of a worker: the number of threads for every library it may load.

    With ``huge_pages`` its memory comes in large pages where the system has them for who asks
    (Linux with glibc 2.35 and later).
    """
    tunables = [text for text in (os.environ.get(TUNABLES), HUGE_PAGES) if text]
    return {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "MKL_DYNAMIC": "FALSE",
        # fp32 is fp32: TF32, on by default in CUDA's libraries, has ten bits.
        "NVIDIA_TF32_OVERRIDE": "0",
        # CUDA's first GPU is then NVML's, too.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        # Modules of the same name in the current directory must not be imported.
        "PYTHONSAFEPATH": "1",
        **({TUNABLES: ":".join(tunables)} if huge_pages else {}),
    }
