"""Timing the models of a sweep, once all are trained and nothing else runs."""

from __future__ import annotations

from pathlib import Path

from edgeprune.benchmarking import Candidate, bench, runtimes
from edgeprune.benchmarking.runtimes.base import ExportedFor
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import BenchResult
from edgeprune.sweeping.results import Row
from edgeprune.sweeping.spec import BenchSpec
from edgeprune.sweeping.store import STORE_FILE, Store, read_store


def check_device(settings: BenchSpec) -> None:
    """Check that the models can be timed here. Raises UnavailableError."""
    if settings.device == "cpu":
        return
    module: object = runtimes.get(settings.runtime)
    if isinstance(module, ExportedFor):
        module.check_device(settings.device)
    else:
        from edgeprune.training.compute import open_device

        open_device(settings.device, "fp32")


def time_models(settings: BenchSpec, store: Store, root: Path, progress: Progress = SILENT) -> None:
    """Time, for every model of the grid, its dense and its pruned forms side by side.

    Those of the first target and seed stand for all: a pruning of the same ratio leaves the
    same widths or nearly so.
    """
    found = read_store(root / STORE_FILE)
    for model in dict.fromkeys(row.key.model for row in found.rows):
        rows = _first(found.rows, model)
        if len(rows) < 2 or _timed(found.benches.get(model), rows, settings):
            continue
        progress.say(f"timing {model}: {len(rows)} models")
        candidates = [_candidate(root, row) for row in rows]
        result = bench(
            candidates[1:],
            baseline=candidates[0],
            runtime=settings.runtime,
            device=settings.device,
            batches=settings.batches,
            threads=settings.threads,
            min_time_s=settings.min_time,
            precision_target=None,
            progress=progress,
        )
        store.add_bench(model, result)


def _first(rows: list[Row], model: str) -> list[Row]:
    """The finished trials of the first target and seed of which the dense one is done."""
    done = [row for row in rows if row.key.model == model and row.state == "done"]
    dense = next((row for row in done if row.key.kind == "dense"), None)
    if dense is None:
        return []
    place = (dense.key.target, dense.key.seed)
    others = [row for row in done if (row.key.target, row.key.seed) == place and row != dense]
    return [dense, *others]


def _timed(bench: BenchResult | None, rows: list[Row], settings: BenchSpec) -> bool:
    if bench is None:
        return False
    timed = {
        (m.fingerprint, m.batch)
        for m in bench.measurements
        if (m.runtime, m.device, m.threads) == (settings.runtime, settings.device, settings.threads)
    }
    return all(
        row.result is not None and (row.result.fingerprint, batch) in timed
        for row in rows
        for batch in settings.batches
    )


def _candidate(root: Path, row: Row) -> Candidate:
    assert row.result is not None  # it is done
    return Candidate(str(root / row.result.artifact), label=row.id)
