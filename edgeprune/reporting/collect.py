"""Finding and reading what a report is made of: artifact records and bench results.

Only JSON is read here: neither weights nor torch are needed to write a report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeprune.errors import ArtifactError, ResultError
from edgeprune.result_files import check_accuracies, check_positive, read_bench, read_finite
from edgeprune.schema import ArtifactRecord, BenchResult

# As in edgeprune.artifact, which loads torch.
RECORD_FILE = "edgeprune.json"
BENCH_FILE = "bench.json"
SEARCH_DEPTH = 2
# Calls one right after the other; what else there is cannot stand in one plot with them.
SCENARIOS = ("latency", "throughput")


@dataclass(frozen=True)
class Artifact:
    """The record of one artifact directory; ``label`` is unique within the report."""

    path: Path
    label: str
    record: ArtifactRecord


@dataclass(frozen=True)
class Bench:
    """One bench result and the file it was read from."""

    path: Path
    result: BenchResult


@dataclass
class Collected:
    """Everything that was found, in the order in which the runs were given."""

    artifacts: list[Artifact] = field(default_factory=list)
    benches: list[Bench] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        """The files that were read."""
        records = [artifact.path / RECORD_FILE for artifact in self.artifacts]
        return [*records, *(bench.path for bench in self.benches)]


def collect(runs: Sequence[Path]) -> Collected:
    """Read the artifacts and bench results that ``runs`` name.

    A run is an artifact directory, a directory that holds artifacts or ``bench.json`` files at
    most two levels down, or a bench result file. Hidden directories are skipped, and what is
    named twice is read once.

    Raises:
        ResultError: if a run does not exist or holds nothing, or a bench result cannot be read.
        ArtifactError: if the record of an artifact cannot be read.
    """
    if not runs:
        raise ResultError("a report needs at least one run: an artifact directory or a bench.json")
    directories: list[Path] = []
    files: list[Path] = []
    for run in runs:
        found_directories, found_files = _find(run)
        directories += found_directories
        files += found_files
    directories = _distinct(directories)
    labels = _labels(directories)
    return Collected(
        artifacts=[
            Artifact(path, label, _read_record(path / RECORD_FILE))
            for path, label in zip(directories, labels, strict=True)
        ],
        benches=[Bench(path, _read_latencies(path)) for path in _distinct(files)],
    )


def _read_latencies(path: Path) -> BenchResult:
    result = read_bench(path)
    if result.scenario not in SCENARIOS:
        raise ResultError(
            f"{str(path)!r} is of the scenario {result.scenario!r}; a report shows"
            f" {' and '.join(SCENARIOS)}"
        )
    return result


def _find(run: Path) -> tuple[list[Path], list[Path]]:
    if not run.exists():
        raise ResultError(f"run {str(run)!r} does not exist")
    if not run.is_dir():
        return [], [run]
    directories: list[Path] = []
    files: list[Path] = []
    try:
        for directory in _walk(run, SEARCH_DEPTH):
            if (directory / RECORD_FILE).is_file():
                directories.append(directory)
            if (directory / BENCH_FILE).is_file():
                files.append(directory / BENCH_FILE)
    except PermissionError as problem:
        raise ResultError(f"no permission to read {str(problem.filename)!r}") from None
    if not directories and not files:
        raise ResultError(
            f"run {str(run)!r} holds neither an artifact nor a {BENCH_FILE}",
            hint="artifacts are written by prune and finetune, bench.json by bench -o bench.json",
        )
    return directories, files


def _walk(directory: Path, depth: int) -> Iterator[Path]:
    yield directory
    if depth == 0:
        return
    for child in sorted(directory.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            yield from _walk(child, depth - 1)


def _distinct(paths: Iterable[Path]) -> list[Path]:
    found: dict[Path, Path] = {}
    for path in paths:
        found.setdefault(path.resolve(), path)
    return list(found.values())


def _labels(directories: Sequence[Path]) -> list[str]:
    """Name artifacts by their directory, with as many parents as it takes to tell them apart."""
    resolved = [path.resolve().parts for path in directories]
    labels = []
    for parts in resolved:
        depth = 1
        while depth < len(parts) and sum(o[-depth:] == parts[-depth:] for o in resolved) > 1:
            depth += 1
        labels.append("/".join(parts[-depth:]))
    return labels


def _read_record(path: Path) -> ArtifactRecord:
    record = read_finite(path, ArtifactRecord, ArtifactError)
    for name, value in (
        ("dense.params", record.dense.params),
        ("dense.macs", record.dense.macs),
        ("pruned.params", record.pruned.params),
        ("pruned.macs", record.pruned.macs),
    ):
        check_positive(path, name, value, ArtifactError)
    if record.dg is not None:
        check_accuracies(path, record.dg, ArtifactError)
    return record
