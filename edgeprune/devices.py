"""Device profiles: what a board or GPU can do, as data in ``profiles/*.toml``.

A profile holds no code. Every figure in it is covered by exactly one ``[[source]]`` that says
where it comes from and whether a page was found that states it (``verified``).
"""

from __future__ import annotations

import reprlib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from edgeprune.errors import UsageError, nearest, one_of
from edgeprune.packages import shipped_directory
from edgeprune.schema import Document, Facts
from edgeprune.toml_files import parse_toml, read_toml_text

Amount = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, strict=True)]
Positive = Annotated[int, Field(ge=1, strict=True)]


def _without_control_characters(text: str) -> str:
    if not text.replace("\n", " ").replace("\t", " ").isprintable():
        raise ValueError("control characters are not accepted")
    return text


# Profiles are given from hand to hand, and their text is shown on a terminal.
Line = Annotated[str, AfterValidator(_without_control_characters)]

# What is no profile but may be named as a device.
DEVICES = ("cpu", "cuda")
# Those that stand for any machine, or any with a GPU.
ANY_CPU, ANY_GPU = "generic-cpu", "generic-cuda"
# How far a computed peak may be from cores x 2 x clock: figures are rounded.
PEAK_TOLERANCE = 0.05
# Below and beyond what any device has, with room for those of the next ten years: such a figure is
# in another unit.
RANGES: dict[str, tuple[float, float]] = {
    "gpu_sms": (1, 2_000),
    "cuda_cores": (8, 500_000),
    "tensor_cores": (0, 20_000),
    "dla_cores": (0, 64),
    "gpu_clock_mhz": (50, 10_000),
    "fp32_tflops": (0.0001, 5_000),
    "fp16_dense_tflops": (0.0001, 100_000),
    "int8_dense_tops": (0.0001, 200_000),
    "advertised_sparse_tops": (0.0001, 1_000_000),
    "memory_gb": (0.1, 10_000),
    "bandwidth_gbs": (0.1, 100_000),
    "cpu_cores": (1, 8_192),
    "cpu_clock_mhz": (50, 10_000),
    "power_modes_w": (0.1, 20_000),
    "latency_budget_ms": (0.001, 3_600_000),
    "sm": (1.0, 40.0),
}
# A rate is not below the other one, and at most so many times it: of those here 32, 4 and 3.3.
RATIOS = (
    ("fp16_dense_tflops", "fp32_tflops", 256),
    ("int8_dense_tops", "fp16_dense_tflops", 16),
    ("advertised_sparse_tops", "int8_dense_tops", 64),
)
# Values in messages: enough of them to be found again.
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 100
# What the patterns below accept, for a person.
PATTERNS = {
    "name": "lower-case letters, digits and dashes are",
    "sm": "a number and one more digit, such as 8.7, are",
}


class Match(Facts):
    """How a machine is recognised as this device.

    Attributes:
        compatible: parts of /proc/device-tree/compatible, such as ``p3767-0005-super``.
        model: words that all occur in /proc/device-tree/model.
        gpu: parts of the name that the NVIDIA driver gives.
    """

    compatible: tuple[Line, ...] = ()
    model: tuple[Line, ...] = ()
    gpu: tuple[Line, ...] = ()


class Source(Facts):
    """Where the figures named in ``of`` come from; ``verified`` if a page states them."""

    text: Line = Field(min_length=1)
    verified: bool
    of: tuple[str, ...] = Field(min_length=1)


class DeviceProfile(Facts):
    """What one device can do; a figure that nobody knows is absent (None).

    The rates are dense peaks of the GPU alone. What the maker advertises, with sparsity and
    other engines counted in, stands apart in ``advertised`` and ``advertised_sparse_tops``.
    Clocks are the highest of the strongest power mode. ``jetpack``, ``cuda`` and ``tensorrt``
    are the last versions for the board. ``latency_budget_ms`` is no property of the device but a
    choice: what an estimate is held against unless somebody says otherwise.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: Line = Field(min_length=1)
    kind: Literal["cpu", "cuda", "jetson"]
    notes: Line | None = None

    architecture: Line | None = None
    sm: str | None = Field(default=None, pattern=r"^\d+\.\d$")
    gpu_sms: Positive | None = None
    cuda_cores: Positive | None = None
    tensor_cores: Count | None = None
    dla_cores: Count | None = None
    gpu_clock_mhz: Amount | None = None
    fp32_tflops: Amount | None = None
    fp16_dense_tflops: Amount | None = None
    int8_dense_tops: Amount | None = None
    advertised: Line | None = None
    advertised_sparse_tops: Amount | None = None
    memory_gb: Amount | None = None
    bandwidth_gbs: Amount | None = None
    cpu: Line | None = None
    cpu_cores: Positive | None = None
    cpu_clock_mhz: Amount | None = None
    power_modes_w: tuple[Amount, ...] | None = Field(default=None, min_length=1)
    power_modes: tuple[Line, ...] | None = Field(default=None, min_length=1)
    jetpack: Line | None = None
    cuda: Line | None = None
    tensorrt: Line | None = None
    latency_budget_ms: Amount | None = None

    match: Match = Match()
    source: tuple[Source, ...] = ()

    NOT_FIGURES: ClassVar[frozenset[str]] = frozenset(
        {"name", "title", "kind", "notes", "match", "source"}
    )

    @model_validator(mode="after")
    def _plausible(self) -> DeviceProfile:
        for key, value in self.figures().items():
            _in_range(key, value)
        for key, other, most in RATIOS:
            _in_ratio(key, getattr(self, key), other, getattr(self, other), most)
        if self.cuda_cores and self.gpu_sms and self.cuda_cores % self.gpu_sms:
            raise ValueError(
                f"cuda_cores: {self.cuda_cores} cannot be shared evenly by {self.gpu_sms} SMs"
            )
        if self.fp32_tflops and self.cuda_cores and self.gpu_clock_mhz:
            peak = self.cuda_cores * 2 * self.gpu_clock_mhz * 1e6 / 1e12
            if abs(self.fp32_tflops / peak - 1) > PEAK_TOLERANCE:
                raise ValueError(
                    f"fp32_tflops: {self.fp32_tflops:g} does not fit cuda_cores and"
                    f" gpu_clock_mhz, which give {peak:.3g}"
                )
        return self

    @model_validator(mode="after")
    def _sourced(self) -> DeviceProfile:
        sourced = [key for source in self.source for key in source.of]
        for key in sourced:
            if key not in self.figures():
                raise ValueError(f"source: names {key!r}, which is no figure of this profile")
            if sourced.count(key) > 1:
                raise ValueError(f"source: {key!r} has more than one source")
        for key in self.figures():
            if key not in sourced:
                raise ValueError(f"{key}: has no source")
        return self

    def figures(self) -> dict[str, Any]:
        """Return the figures that are known, by key."""
        return {
            key: getattr(self, key)
            for key in type(self).model_fields
            if key not in self.NOT_FIGURES and getattr(self, key) is not None
        }

    def source_of(self, key: str) -> Source:
        """Return where the figure ``key`` comes from. Raises KeyError for an unknown figure."""
        for source in self.source:
            if key in source.of:
                return source
        raise KeyError(key)

    @property
    def verified(self) -> bool:
        """Whether a page was found for each figure that decides speed."""
        speed = ("gpu_clock_mhz", "cuda_cores", "bandwidth_gbs", "memory_gb")
        known = self.figures()
        return bool(known) and all(self.source_of(k).verified for k in speed if k in known)


class DeviceList(Document):
    """What ``edgeprune devices list`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/devices-list@1"

    profiles: list[DeviceProfile]


class DeviceShown(Document):
    """What ``edgeprune devices show`` reports."""

    SCHEMA: ClassVar[str] = "edgeprune/devices-show@1"

    profile: DeviceProfile


def profile_names() -> list[str]:
    """Return the names of the profiles that come with edgeprune, sorted."""
    return sorted(path.stem for path in profiles_directory().glob("*.toml"))


def load_profile(name: str) -> DeviceProfile:
    """Load one of edgeprune's profiles by name, or a profile file by a path ending in .toml.

    Raises:
        UsageError: if the name is unknown (names the nearest), or the file cannot be used.
    """
    if name.endswith(".toml"):
        return read_profile(Path(name))
    return read_profile(profiles_directory() / f"{one_of(name, 'device', profile_names())}.toml")


def profile_of(device: str) -> DeviceProfile | None:
    """Return the profile of a device that is named to measure on, None for ``cpu`` and ``cuda``.

    Raises:
        UsageError: if there is no such device, or the profile file cannot be used.
    """
    if device in DEVICES:
        return None
    if not device.endswith(".toml"):
        one_of(device, "device", [*DEVICES, *profile_names()])
    return load_profile(device)


def device_name(device: str) -> str:
    """Return what results call a device: its profile's name, not the path of a file."""
    profile = profile_of(device)
    return profile.name if profile is not None else device


def list_profiles() -> list[DeviceProfile]:
    """Load every profile that comes with edgeprune."""
    return [load_profile(name) for name in profile_names()]


def read_profile(path: Path) -> DeviceProfile:
    """Read and check one profile file.

    Raises:
        UsageError: naming the file and the key that is missing, unknown or impossible.
    """
    what = f"device profile {str(path)!r}"
    raw = parse_toml(read_toml_text(path, what), what)
    try:
        profile = DeviceProfile.model_validate(raw)
    except ValidationError as error:
        message, hint = _first_problem(error)
        raise UsageError(f"{what}: {message}", hint) from None
    if profile.name != path.stem:
        raise UsageError(f"{what}: name: {profile.name!r} differs from the file's name")
    return profile


@cache
def profiles_directory() -> Path:
    """Return where the profiles lie: inside the installed package, or in the checkout."""
    return shipped_directory("profiles")


def _in_range(key: str, value: Any) -> None:
    """Raise ValueError for a figure, or one of several, that no device has."""
    if key not in RANGES:
        return
    low, high = RANGES[key]
    for number in value if isinstance(value, tuple) else [value]:
        figure = float(number) if isinstance(number, str) else number
        if not low <= figure <= high:
            # A whole number may be too large for a float.
            shown = f"{figure:g}" if isinstance(figure, float) else SHORT.repr(figure)
            raise ValueError(
                f"{key}: {shown} is {'less' if figure < low else 'more'} than any device has;"
                f" {low:g} to {high:.10g} are accepted"
            )


def _in_ratio(key: str, value: float | None, other: str, base: float | None, most: int) -> None:
    """Raise ValueError for a rate that is below another one, or very far above it."""
    if value is None or base is None:
        return
    if value < base:
        raise ValueError(f"{key}: {value:g} is below {other}, {base:g}")
    if value > most * base:
        raise ValueError(
            f"{key}: {value:g} is more than {most} times {other}, {base:g}; {base:g} to"
            f" {most * base:g} are accepted"
        )


def _first_problem(error: ValidationError) -> tuple[str, str | None]:
    """Return what is wrong in one sentence, and the nearest accepted key for an unknown one."""
    # A misspelt key is reported before the key that is missing because of it.
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        groups: dict[str, type[Facts]] = {"match": Match, "source": Source}
        accepted = groups.get(str(first["loc"][0]), DeviceProfile).model_fields
        return f"unknown key {key!r}", nearest(str(first["loc"][-1]), accepted)
    if first["type"] == "missing":
        return f"key {key!r} is missing", None
    if first["type"] == "string_pattern_mismatch":
        return f"{key}: {SHORT.repr(first['input'])} is not accepted; {PATTERNS[key]}", None
    message = first["msg"].removeprefix("Value error, ")
    return (f"{key}: {message} (found {SHORT.repr(first['input'])})" if key else message), None
