"""Measuring how fast a model of given widths is, before it exists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from edgeprune.errors import UnavailableError
from edgeprune.families.base import WidthKey
from edgeprune.model import random_model
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import ArtifactRecord, LatencyCandidate

# Seconds of timed calls per candidate, and as many of the model as it came.
MIN_TIME_S = 3.0


class Bench(ExitStack):
    """Measures candidates with the bench harness: ONNX Runtime, fp32, batch 1, random weights.

    Each candidate takes turns with the model as it came, so that whatever the machine does
    meanwhile meets both. Leaving the ``with`` block removes the scratch files.

    Args:
        record: the model as it came.
        device: ``cpu``, or what :func:`open_profile` returned.
        threads: compute threads.
        shrunk: gives the record of a model of other widths.
        progress: where to say what is measured.
        min_time_s: seconds of timed calls of each.
    """

    def __init__(
        self,
        record: ArtifactRecord,
        *,
        device: str,
        threads: int,
        shrunk: Callable[[Mapping[WidthKey, int]], ArtifactRecord],
        progress: Progress = SILENT,
        min_time_s: float = MIN_TIME_S,
    ) -> None:
        super().__init__()
        self._record = record
        self._device = device
        self._threads = threads
        self._shrunk = shrunk
        self._progress = progress
        self._min_time_s = min_time_s
        self._count = 0

    def __enter__(self) -> Bench:
        super().__enter__()
        self._folder = Path(self.enter_context(TemporaryDirectory(prefix="edgeprune-latency-")))
        self._base = self._export(self._record, "before")
        return self

    def __call__(self, widths: Mapping[WidthKey, int]) -> LatencyCandidate:
        """Measure a model of these widths.

        Raises:
            UnavailableError: if the runtime or the device is not here.
        """
        from edgeprune.benchmarking import bench

        self._count += 1
        record = self._shrunk(widths)
        file = self._export(record, f"candidate-{self._count}")
        result = bench(
            [file],
            baseline=self._base,
            device=self._device,
            threads=self._threads,
            min_time_s=self._min_time_s,
            precision_target=None,
            seed=0,
            progress=self._progress,
        )
        file.unlink()
        before, after = result.measurements
        faster = result.comparisons[0]
        self._progress.say(
            f"candidate {self._count}: {record.pruned.macs / self._record.pruned.macs:.1%} of the"
            f" MACs, {after.latency_ms.p50:.3g} ms, {faster.speedup:.2f}x faster"
        )
        return LatencyCandidate(
            macs=record.pruned.macs,
            params=record.pruned.params,
            latency_ms=after.latency_ms.p50,
            before_ms=before.latency_ms.p50,
            speedup=faster.speedup,
            ci95=faster.ci95,
            samples=after.samples,
        )

    def _export(self, record: ArtifactRecord, name: str) -> Path:
        from edgeprune.exporting.onnx import export_onnx

        path = self._folder / f"{name}.onnx"
        export_onnx(random_model(record), path, batch=1)
        return path


def open_profile(profile: str | None) -> str:
    """Return the device to measure on, after checking that this machine is it.

    Raises:
        UsageError: if there is no such device or profile.
        UnavailableError: if this machine is another one.
    """
    from edgeprune.benchmarking.harness import resolve_device

    try:
        return resolve_device(profile or "cpu")
    except UnavailableError as error:
        raise UnavailableError(
            str(error), hint="a latency budget is measured on the device itself: prune there"
        ) from None
