"""What is measured on a far machine, and by which rules."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from edgeprune.benchmarking import rounds
from edgeprune.benchmarking.harness import PRECISIONS, check_settings
from edgeprune.benchmarking.runtimes import trtexec
from edgeprune.benchmarking.stopping import PRECISION_TARGET, StopRule
from edgeprune.devices import DeviceProfile, device_name, profile_of
from edgeprune.engines.api import is_too_old
from edgeprune.errors import UsageError, one_of

# TensorRT 8.2 reads no newer one, and from 17 on there are operators that 8.5 does not have.
OPSET_BEFORE_8_6 = 13

PACKAGES = {"onnxruntime": ("onnxruntime", "numpy"), "tensorrt": ()}

# The numbers of a local bench, for the agent, which imports nothing of edgeprune.
RULES: dict[str, float] = {
    **dataclasses.asdict(rounds.ORDINARY),
    "windows": rounds.WARMUP_WINDOWS,
    "tolerance": rounds.WARMUP_TOLERANCE,
    "max_more_rounds": rounds.MAX_MORE_ROUNDS,
    "look_again": rounds.LOOK_AGAIN,
}
TRTEXEC_RULES = {**RULES, **dataclasses.asdict(trtexec.RHYTHM)}


@dataclass(frozen=True)
class Settings:
    """Options of a remote bench; see :func:`edgeprune.benchmarking.bench` for their meaning.

    ``device`` may be a profile or its file, which the machine there then has to be. ``threads``
    None means all cores that may be used there. ``precision`` None means what a file is in;
    TensorRT builds ONNX files for it.

    Raises:
        UsageError: for a value that is not accepted.
    """

    runtime: str = "onnxruntime"
    device: str = "cpu"
    precision: str | None = None
    batches: tuple[int, ...] = (1,)
    threads: int | None = None
    min_time_s: float = 3.0
    max_time_s: float | None = None
    precision_target: float | None = PRECISION_TARGET
    seed: int = 0

    def __post_init__(self) -> None:
        one_of(self.runtime, "runtime on a far machine", PACKAGES)
        profile_of(self.device)
        if self.precision is not None:
            one_of(self.precision, "precision", PRECISIONS)
        check_settings(self.batches, self.threads)
        StopRule.of(self.min_time_s, self.max_time_s, self.precision_target)
        object.__setattr__(self, "batches", tuple(dict.fromkeys(self.batches)))
        if self.runtime == "tensorrt" and self.target == "cpu":
            raise UsageError(
                f"runtime 'tensorrt' does not run on {self.device!r};"
                " cuda or the profile of a GPU or board was expected"
            )

    @property
    def profile(self) -> DeviceProfile | None:
        """The profile that the machine has to be, None if any will do."""
        return profile_of(self.device)

    @property
    def target(self) -> str:
        """``cpu`` or ``cuda``."""
        if self.profile is None:
            return self.device
        return "cpu" if self.profile.kind == "cpu" else "cuda"

    @property
    def opset(self) -> int | None:
        """The ONNX operator set that the TensorRT of the profile reads; None is any."""
        version = self.profile.tensorrt if self.profile is not None else None
        if self.runtime != "tensorrt" or version is None or not is_too_old(version):
            return None
        return OPSET_BEFORE_8_6

    @property
    def rules(self) -> dict[str, float]:
        """The numbers by which the agent warms up and divides the time into rounds."""
        return TRTEXEC_RULES if self.runtime == "tensorrt" else RULES

    @property
    def stop(self) -> StopRule:
        """When it is enough."""
        return StopRule.of(self.min_time_s, self.max_time_s, self.precision_target)

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages there whose versions stand beside the results."""
        return PACKAGES[self.runtime]

    def device_on(self, host: str) -> str:
        """Return the device for the result: which machine it is has to be told, but for a board.

        Many machines fit the profile of a CPU, or one for any GPU.
        """
        profile = self.profile
        is_board = profile is not None and profile.kind == "jetson"
        name = device_name(self.device)
        return name if is_board else f"{name} on {host}"
