"""What this machine is: a Jetson board, a machine with an NVIDIA GPU, or a plain CPU."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import psutil

from edgeprune.devices import ANY_CPU, ANY_GPU, DeviceProfile, list_profiles, load_profile
from edgeprune.environment import available_cores, cpu_name
from edgeprune.schema import Document, Facts

DRIVER_TIMEOUT_S = 20
UNREADABLE_BOARD = "a Jetson whose device tree cannot be read"

# L4T (Jetson Linux) to JetPack; sources: jetson_stats' table, meta-tegra, NVIDIA's archive pages.
JETPACK_OF_L4T = {
    "32.6.1": "4.6",
    "32.7.1": "4.6.1",
    "32.7.2": "4.6.2",
    "32.7.3": "4.6.3",
    "35.1.0": "5.0.2",
    "35.2.1": "5.1",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
}


class Gpu(Facts):
    """One NVIDIA GPU as its driver describes it."""

    name: str
    memory_gb: float | None
    driver: str
    sm: str | None


class Board(Facts):
    """A Jetson board as its device tree describes it."""

    model: str
    compatible: list[str]
    l4t: str | None
    jetpack: str | None


class Machine(Document):
    """What ``edgeprune devices detect`` reports: the profile that fits, and the facts."""

    SCHEMA: ClassVar[str] = "edgeprune/devices-detect@1"

    profile: str
    kind: str
    name: str
    cpu: str
    cores: int
    memory_gb: float
    gpus: tuple[Gpu, ...] = ()
    board: Board | None = None
    notes: tuple[str, ...] = ()


def detect(root: Path = Path("/")) -> Machine:
    """Say what this machine is and which profile fits it.

    Args:
        root: where /proc and /etc are looked up; another one stands for another machine.

    Returns:
        The profile ``generic-cuda`` or ``generic-cpu`` where no profile fits.
    """
    machine = recognise(root, cpu=cpu_name(root), cores=available_cores(), gpus=query_gpus())
    if machine.kind == "cpu" and shutil.which("nvidia-smi"):
        note = "nvidia-smi is installed, but the driver lists no GPU"
        return machine.model_copy(update={"notes": (note, *machine.notes)})
    return machine


def recognise(root: Path, *, cpu: str, cores: int, gpus: Sequence[Gpu]) -> Machine:
    """Say what the machine is whose /proc and /etc lie under ``root``, and which profile fits."""
    profiles = list_profiles()
    memory_gb, board = _memory_gb(root), find_board(root)
    notes: list[str] = []
    if board is not None:
        kind, name = "jetson", board.model
        profile = _of_board(board, memory_gb, profiles)
        if profile is None:
            notes.append(f"no profile for the board {board.model!r}")
    elif gpus:
        kind, name = "cuda", gpus[0].name
        profile = _of_gpu(gpus[0].name, profiles)
        if profile is None:
            notes.append(f"no profile for the GPU {gpus[0].name!r}")
    else:
        kind, name, profile = "cpu", cpu, None
    if profile is not None and profile.notes:
        notes.append(profile.notes)
    return Machine(
        profile=profile.name if profile else ANY_CPU if kind == "cpu" else ANY_GPU,
        kind=kind,
        name=name,
        cpu=cpu,
        cores=cores,
        memory_gb=memory_gb,
        gpus=tuple(gpus),
        board=board,
        notes=tuple(notes),
    )


def is_device(machine: Machine, profile: DeviceProfile) -> bool:
    """Tell whether a machine is the device of a profile, which may be a file of one's own.

    Every machine is ``generic-cpu``, every one with a GPU ``generic-cuda``. Any other profile of a
    CPU has to name it as the machine's system does.
    """
    if profile == load_profile(ANY_CPU):
        return True
    if profile == load_profile(ANY_GPU):
        return machine.kind != "cpu"
    if profile.kind == "cpu":
        return profile.cpu is not None and profile.cpu.split() == machine.cpu.split()
    # It comes first: a file of one's own may name the same part as a profile that is shipped.
    profiles = [profile, *(other for other in list_profiles() if other.name != profile.name)]
    if machine.board is not None:
        return _of_board(machine.board, machine.memory_gb, profiles) is profile
    return bool(machine.gpus) and _of_gpu(machine.gpus[0].name, profiles) is profile


def called(profile: DeviceProfile) -> str:
    """Return what a message calls the device of a profile: a CPU by what it has to be, too."""
    if profile.kind != "cpu":
        return repr(profile.name)
    return f"{profile.name!r} ({profile.cpu or 'a CPU that it does not name'})"


def query_gpus() -> list[Gpu]:
    """Ask the NVIDIA driver for its GPUs; none without a driver that answers."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = "--query-gpu=name,memory.total,driver_version,compute_cap"
    try:
        answer = subprocess.run(
            [program, query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=DRIVER_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_gpus(answer.stdout)


def parse_gpus(text: str) -> list[Gpu]:
    """Read what nvidia-smi prints for the query above."""
    rows = (line.split(",") for line in text.splitlines())
    return [_gpu([cell.strip() for cell in row]) for row in rows if len(row) == 4]


def _gpu(cells: list[str]) -> Gpu:
    name, memory_mib, driver, sm = cells
    # Boards with unified memory answer "[N/A]".
    memory_gb = round(float(memory_mib) * 2**20 / 1e9, 1) if _is_number(memory_mib) else None
    return Gpu(name=name, memory_gb=memory_gb, driver=driver, sm=sm if _is_number(sm) else None)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None


def find_board(root: Path = Path("/")) -> Board | None:
    """Return the Jetson whose /proc and /etc lie under ``root``; None if it is none."""
    tree = root / "proc/device-tree"
    model = _read(tree / "model").strip("\0 \n")
    compatible = [entry for entry in _read(tree / "compatible").split("\0") if entry.strip()]
    l4t = _l4t(_read(root / "etc/nv_tegra_release"))
    is_tegra = any(entry.startswith("nvidia,tegra") for entry in compatible)
    # A container may hide the device tree; Jetson Linux alone has nv_tegra_release.
    if not is_tegra and "jetson" not in model.lower() and (model or l4t is None):
        return None
    return Board(
        model=model or UNREADABLE_BOARD,
        compatible=compatible,
        l4t=l4t,
        jetpack=JETPACK_OF_L4T.get(l4t) if l4t else None,
    )


def _l4t(release: str) -> str | None:
    # "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, ..."
    found = re.search(r"R(\d+) \(release\), REVISION: (\d+)\.(\d+)", release)
    return ".".join(found.groups()) if found else None


def _of_board(
    board: Board, memory_gb: float, profiles: list[DeviceProfile]
) -> DeviceProfile | None:
    # The part number decides; "nvidia,p3768-0000+p3767-0005-super" names carrier and module.
    parts = {part for entry in board.compatible for part in re.split(r"[,+]", entry)}
    known = [(len(part), p) for p in profiles for part in p.match.compatible if part in parts]
    if known:
        return max(known, key=lambda pair: pair[0])[1]
    words = set(re.findall(r"\w+", board.model.lower()))
    fits = [
        (len(wanted.split()), -abs((profile.memory_gb or 0) - memory_gb), profile)
        for profile in profiles
        for wanted in profile.match.model
        if set(wanted.lower().split()) <= words
    ]
    return max(fits, key=lambda fit: fit[:2])[2] if fits else None


def _of_gpu(name: str, profiles: list[DeviceProfile]) -> DeviceProfile | None:
    for profile in profiles:
        for part in profile.match.gpu:
            if re.search(rf"\b{re.escape(part)}$", name):
                return profile
    return None


def _memory_gb(root: Path) -> float:
    found = re.search(r"^MemTotal:\s+(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    total = int(found.group(1)) * 1024 if found else psutil.virtual_memory().total
    return round(total / 1e9, 1)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
