"""Calibrations: how near a runtime comes to a device's peaks, as data in ``calibrations/*.toml``.

Each was fitted to latencies that were published or measured, and holds for devices and networks
like those: anything else is refused.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from edgeprune.devices import DeviceProfile, load_profile
from edgeprune.errors import UsageError
from edgeprune.estimating.roofline import Coefficients
from edgeprune.figures import count
from edgeprune.schema import Facts
from edgeprune.toml_files import parse_toml

FOLDER = Path(__file__).parent / "calibrations"
# Peaks are rounded, and a board's clock differs a little between sources.
DEVICE_TOLERANCE = 1.1
# A call may have so many times more MACs than the largest that calibrates, or fewer than the least.
SIZE_TOLERANCE = 5.0


class Errors(Facts):
    """How wrong estimates were for devices or widths that the fit had not seen.

    Attributes:
        held_out: what was left out, in words.
        cases: estimates that were compared.
        median_percent: median of the relative error.
        factor95: 95 % of the estimates are within this factor of the latency.
        ratio_factor95: the same for ratios of two latencies of one device.
    """

    held_out: str
    cases: int
    median_percent: float
    factor95: float
    ratio_factor95: float


class Calibration(Facts):
    """Coefficients of one runtime on one kind of device, and where they hold.

    ``peak_tflops`` (of the first precision), ``bandwidth_gbs`` and ``macs`` (of one call) are the
    least and the most of what it was fitted to, ``cpu_profile`` the one CPU that this was.
    """

    name: str
    runtime: str
    kind: Literal["cpu", "jetson"]
    cpu_profile: str | None = None
    precisions: tuple[str, ...]
    threads: int
    source: str
    peak_tflops: tuple[float, float]
    bandwidth_gbs: tuple[float, float]
    macs: tuple[float, float]
    tile: tuple[int, int, int]
    fuses: bool
    small: float
    launch_cycles: float
    efficiency: dict[str, float]
    stream: dict[str, float]
    errors: Errors

    @property
    def coefficients(self) -> Coefficients:
        """What the roofline needs of it."""
        return Coefficients(
            tile=self.tile,
            efficiency=self.efficiency,
            stream=self.stream,
            small=self.small,
            launch_cycles=self.launch_cycles,
            fuses=self.fuses,
        )

    def check_precision(self, precision: str | None) -> str:
        """Return the precision of an estimate, the first one if none was asked for.

        Raises:
            UsageError: naming those that were calibrated.
        """
        if precision is not None and precision not in self.precisions:
            raise UsageError(
                f"there is no calibration of {self.runtime} in {precision}; accepted:"
                f" {', '.join(self.precisions)}"
            )
        return precision or self.precisions[0]

    def check_device(self, profile: DeviceProfile) -> None:
        """Raise UsageError if the device is unlike those that were calibrated."""
        if self.cpu_profile is not None:
            _check_same_cpu(profile, load_profile(self.cpu_profile))
        peak = profile.fp32_tflops if self.kind == "cpu" else profile.fp16_dense_tflops
        figures = (
            ("peak", "TFLOPS", peak, self.peak_tflops),
            ("bandwidth", "GB/s", profile.bandwidth_gbs, self.bandwidth_gbs),
        )
        for what, unit, value, (low, high) in figures:
            if value is None:
                raise UsageError(f"device profile {profile.name!r} has no {what} to estimate from")
            if not low / DEVICE_TOLERANCE <= value <= high * DEVICE_TOLERANCE:
                raise UsageError(
                    f"{profile.name!r} lies outside of what estimates are calibrated for: its"
                    f" {what} of {value:g} {unit} is not within {low:g} to {high:g}",
                    hint="measure on the device itself",
                )

    def check_size(self, label: str, macs: int) -> str | None:
        """Return a warning if a call is larger or smaller than all that calibrated.

        Raises:
            UsageError: if it is so by far.
        """
        low, high = self.macs
        if low <= macs <= high:
            return None
        known = f"{count(low)} to {count(high)} MACs"
        if not low / SIZE_TOLERANCE <= macs <= high * SIZE_TOLERANCE:
            raise UsageError(
                f"{label}: a call of {count(macs)} MACs lies outside of what estimates are"
                f" calibrated for: {known}, and {SIZE_TOLERANCE:g} times beyond",
                hint="measure it, or choose another --batch",
            )
        return f"{label}: {count(macs)} MACs per call; estimates are calibrated on {known}"


def _check_same_cpu(profile: DeviceProfile, fitted: DeviceProfile) -> None:
    """Raise UsageError if a CPU is not the one of the fit, which holds its caches and widths."""
    for key in ("cpu", "cpu_cores", "cpu_clock_mhz"):
        value, wanted = getattr(profile, key), getattr(fitted, key)
        if value is None or not _same(value, wanted):
            raise UsageError(
                f"{profile.name!r} is not the CPU that estimates are calibrated on: its {key} is"
                f" {'absent' if value is None else repr(value)}, {wanted!r} was expected",
                hint="measure on the device itself",
            )


def _same(value: str | float, wanted: str | float) -> bool:
    if isinstance(value, float) and isinstance(wanted, float):
        return wanted / DEVICE_TOLERANCE <= value <= wanted * DEVICE_TOLERANCE
    return value == wanted


@cache
def calibrations() -> tuple[Calibration, ...]:
    """Return all calibrations that come with edgeprune."""
    return tuple(
        Calibration.model_validate(parse_toml(path.read_text(encoding="utf-8"), path.name))
        for path in sorted(FOLDER.glob("*.toml"))
    )


def calibration_for(profile: DeviceProfile) -> Calibration:
    """Return the calibration for devices of this kind, after checking that the device is like them.

    Raises:
        UsageError: if there is none, or the device lies outside of its range.
    """
    if not profile.figures():
        raise UsageError(
            f"device profile {profile.name!r} holds no figures to estimate from",
            hint="measure on the device itself, or name the profile that it is like",
        )
    for calibration in calibrations():
        if calibration.kind == profile.kind:
            calibration.check_device(profile)
            return calibration
    raise UsageError(
        f"there is no calibration for {profile.kind} devices such as {profile.name!r}: nobody's"
        " latencies were at hand",
        hint="measure on the device itself",
    )
