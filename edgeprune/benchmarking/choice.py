"""Which runtime measures: the one that was asked for, or what suits the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgeprune.benchmarking.runtimes import check, get
from edgeprune.devices import profile_of
from edgeprune.engines.builders import trtexec
from edgeprune.errors import UnavailableError
from edgeprune.probes import Probe, run_probes

DEFAULT = "onnxruntime"
# The runtime tensorrt is TensorRT's Python package, with the memory of the GPU through torch.
NEEDED = ("tensorrt", "torch-cuda")
GET = (
    "sudo apt-get install libnvinfer-bin brings trtexec, or TRTEXEC names its place;"
    " --runtime onnxruntime needs neither"
)


@dataclass(frozen=True)
class Choice:
    """A runtime, and why it is used."""

    runtime: str
    why: str


def takes_engines(runtime: str | None, device: str) -> bool:
    """Tell whether engine files are measured: by that runtime, or on that board if it is None."""
    if runtime is not None:
        return get(runtime).FORMAT == "engine"
    return is_board(device)


def is_board(device: str) -> bool:
    """Tell whether a device is the profile of a Jetson. Raises UsageError if there is none."""
    profile = profile_of(device)
    return profile is not None and profile.kind == "jetson"


def choose(
    runtime: str | None,
    device: str,
    probe: Callable[[Sequence[str]], Iterable[Probe]] = run_probes,
) -> Choice:
    """Choose a runtime for a device, which is here.

    Args:
        runtime: the one that was asked for, or None.
        device: as it was asked for.
        probe: tries packages in a process of their own.

    Raises:
        UsageError: if there is no such runtime.
        UnavailableError: if the device is a board, and nothing here runs engines.
    """
    if runtime is not None:
        return Choice(check(runtime), "asked for")
    if not is_board(device):
        return Choice(DEFAULT, "the default")
    missing = [found.detail for found in probe(NEEDED) if found.status != "ok"]
    if not missing:
        return Choice("tensorrt", f"TensorRT's Python package works on this {device}")
    program = trtexec.find()
    if program.version is None:
        raise UnavailableError(
            f"{device!r} is measured with TensorRT, and neither its Python package"
            f" ({'; '.join(missing)}) nor trtexec ({program.missing}) works here",
            hint=GET,
        )
    return Choice(
        "trtexec", f"TensorRT's Python package does not work on this {device}: {'; '.join(missing)}"
    )
