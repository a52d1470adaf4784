"""From the raw facts of a far machine to the environment that stands beside its results."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from edgeprune.benchmarking import cgroup, context, tegra
from edgeprune.environment import version_of
from edgeprune.errors import ResultError
from edgeprune.machine import Machine, parse_gpus, recognise
from edgeprune.schema import Facts

_CPUFREQ = "sys/devices/system/cpu/cpu0/cpufreq/"


class Runtimes(Facts):
    """Versions of numpy and ONNX Runtime there, or why they cannot be imported."""

    versions: dict[str, str]
    problem: str | None


class FarFacts(Facts):
    """What the agent says of its machine: text of files and of commands, None where absent."""

    files: dict[str, str | None]
    commands: dict[str, str | None]
    runtimes: Runtimes
    trtexec: str | None
    tegrastats: bool
    cores: int
    available_cores: int
    busy_cores: float | None
    machine: str
    processor: str
    system: str
    python: str

    def file(self, name: str) -> str | None:
        """Return the text of a file without the blanks around it."""
        text = self.files.get(name)
        return text.strip() if text is not None else None

    def command(self, name: str) -> str | None:
        """Return what a command printed, without the blanks around it."""
        text = self.commands.get(name)
        return text.strip() if text is not None else None


def read_facts(raw: dict[str, Any], host: str) -> FarFacts:
    """Check what the agent says. Raises ResultError."""
    try:
        return FarFacts.model_validate(raw)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ResultError(
            f"what {host} says of itself is damaged: {where}: {first['msg']}"
        ) from None


def machine_of(facts: FarFacts) -> Machine:
    """Say what the far machine is and which profile fits it."""
    with _mirrored(facts) as root:
        return recognise(
            root,
            cpu=cpu_of(facts),
            cores=facts.available_cores,
            gpus=parse_gpus(facts.command("nvidia_smi") or ""),
        )


def cpu_of(facts: FarFacts) -> str:
    """Return the CPU's name; ARM's kernel does not give one, lscpu does."""
    places = ((facts.file("proc/cpuinfo"), "model name"), (facts.command("lscpu"), "Model name"))
    for text, key in places:
        found = re.search(rf"^{key}\s*:\s*(\S.*)$", text or "", re.MULTILINE)
        if found:
            return found.group(1).strip()
    return facts.processor or facts.machine


def environment_of(
    facts: FarFacts, machine: Machine, *, host: str, threads: int, packages: Sequence[str]
) -> dict[str, Any]:
    """Return what a reader must know of the far machine, with the keys of a local result.

    ``versions`` are those there, but edgeprune's, which is here.
    """
    with _mirrored(facts) as root:
        cpu_limit, memory = cgroup.cpu_limit(root), cgroup.memory_limit_bytes(root)
        frequency, most = context.frequency_mhz(root), context.max_frequency_mhz(root)
        fastest = tegra.fastest_mode(root)
    load = (facts.file("proc/loadavg") or "").partition(" ")[0]
    versions = {name: facts.runtimes.versions.get(name) for name in packages}
    board = machine.board
    return {
        "host": host,
        "profile": machine.profile,
        "board": board.model if board else None,
        "l4t": board.l4t if board else None,
        "jetpack": board.jetpack if board else None,
        "power_mode": facts.file("sys/firmware/acpi/platform_profile")
        or context.parse_nvpmodel(facts.command("nvpmodel") or ""),
        "fastest_power_mode": fastest,
        "on_battery": None,
        "gpu": machine.gpus[0].model_dump(include={"name", "driver"}) if machine.gpus else None,
        "clocks": facts.command("jetson_clocks"),
        "memory_gb": machine.memory_gb,
        "cpu": machine.cpu,
        "cores": facts.cores,
        "available_cores": facts.available_cores,
        "cpu_limit": cpu_limit,
        "memory_limit_mb": memory / 1e6 if memory is not None else None,
        "threads": threads,
        "busy_cores": facts.busy_cores,
        "load_average": float(load) if load else None,
        "governor": facts.file(_CPUFREQ + "scaling_governor"),
        "frequency_mhz": frequency,
        "max_frequency_mhz": most,
        "machine": facts.machine,
        "system": facts.system,
        "python": facts.python,
        "versions": {"edgeprune": version_of("edgeprune"), **versions},
        "command": shlex.join(sys.argv),
    }


@contextmanager
def _mirrored(facts: FarFacts) -> Iterator[Path]:
    """Lay the far machine's files out under a folder, for the code that reads local ones."""
    with TemporaryDirectory(prefix="edgeprune-facts-") as folder:
        for name, text in facts.files.items():
            path = (Path(folder) / name).resolve()
            if text is not None and path.is_relative_to(Path(folder).resolve()):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        yield Path(folder)
