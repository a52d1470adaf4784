"""The installed command on trials that really train."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sweeping_helpers import SPEC, write_spec
from toy_domains import write_toy_domains

from edgeprune.sweeping.layout import MODEL, trial_directory
from edgeprune.sweeping.store import STORE_FILE, Store, read_store

COMMAND = (sys.executable, "-m", "edgeprune", "sweep")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        # Sums of floats come out the same with the same number of threads only.
        [*COMMAND, "sweep.toml", "--threads", "1", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def table(output: Path) -> list[tuple[Any, ...]]:
    """What a sweep came to, without the times that it took."""
    return [
        (
            row.id,
            row.state,
            row.result
            and (row.result.fingerprint, row.result.dg, row.result.untuned, row.result.history),
        )
        for row in read_store(output / STORE_FILE).rows
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    write_toy_domains(folder / "toy", per_class=5)
    text = SPEC.replace("[0, 1]", "[0]").replace('["day", "dusk"]', '["day"]')
    write_spec(folder, text=text)
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """A sweep that nothing disturbed."""
    done = run(folder, "-o", "whole", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["schema"], facts["trials"], facts["done"]) == ("edgeprune/sweep@1", 3, 3)
    return folder / "whole"


@pytest.mark.slow
def test_every_trial_leaves_an_artifact_and_a_row(whole: Path) -> None:
    rows = read_store(whole / STORE_FILE).rows
    assert [row.state for row in rows] == ["done"] * 3
    for row in rows:
        assert row.result is not None
        assert (whole / row.result.artifact / "edgeprune.json").is_file()
        assert row.result.dg.target == "day"
        assert row.result.machine.cores >= 1
        assert "torch" in row.result.versions
    dense, *pruned = (row.result for row in rows)
    assert dense is not None
    assert all(r is not None and r.pruned.macs < dense.pruned.macs for r in pruned)
    waits = [r is not None and r.seconds.finetune.teacher > 0 for r in (dense, *pruned)]
    assert waits == [False, True, False]  # the second student finds the answers of the first
    assert not list((whole / "work").iterdir())


@pytest.mark.slow
def test_a_second_run_does_nothing_and_two_workers_come_to_the_same(
    folder: Path, whole: Path
) -> None:
    before = table(whole)
    again = run(folder, "-o", "whole")
    assert again.returncode == 0
    assert "3 of 3 trials are done already" in again.stderr
    assert table(whole) == before
    parallel = run(folder, "-o", "parallel", "--workers", "2")
    assert parallel.returncode == 0, parallel.stderr
    assert table(folder / "parallel") == before


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_comes_to_the_same(folder: Path, whole: Path) -> None:
    """kill -9 of the driver, with or without its workers, then go on at once."""
    moments = random.Random(0)
    output = folder / "killed"
    for _ in range(20):
        process = subprocess.Popen(
            [*COMMAND, "sweep.toml", "-o", "killed", "--workers", "2", "--threads", "1"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(moments.uniform(0.5, 5.0))
        except subprocess.TimeoutExpired:
            children = _workers(process.pid) if moments.random() < 0.5 else []
            for pid in [process.pid, *children]:
                os.kill(pid, signal.SIGKILL)
            process.wait()
    last = run(folder, "-o", "killed")
    assert last.returncode == 0, last.stderr
    assert table(output) == table(whole)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(folder: Path, whole: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "sweep.toml", "-o", "lost", "--threads", "1"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (workers := _workers(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(workers[0], signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "it is gone on with" in said
    assert table(folder / "lost") == table(whole)


@pytest.mark.slow
def test_a_trial_that_fails_ends_in_the_table(folder: Path, whole: Path) -> None:
    shutil.copytree(whole, folder / "failing")
    done = trial_directory(folder / "failing", table(whole)[1][0])
    (done / "trial.json").unlink()
    dense = trial_directory(folder / "failing", table(whole)[0][0])
    (dense / MODEL / "model.safetensors").write_bytes(b"damaged")
    failing = run(folder, "-o", "failing")
    assert failing.returncode == 1
    assert "1 failed" in failing.stdout
    rows = read_store(folder / "failing" / STORE_FILE).rows
    assert [row.state for row in rows] == ["done", "failed", "done"]
    assert "is not a readable safetensors file" in (rows[1].error or "")


@pytest.mark.slow
def test_what_the_target_selected_has_no_drop(folder: Path, whole: Path) -> None:
    shutil.copytree(whole, folder / "oracle")
    text = (folder / "sweep.toml").read_text().replace('"l1", ', "")
    oracle = text.replace("finetune = { ", 'finetune = { selection = "oracle", ')
    (folder / "oracle.toml").write_text(oracle)
    done = subprocess.run(
        [*COMMAND, "oracle.toml", "--threads", "1", "-o", "oracle"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    dense, pruned = (row.result for row in read_store(folder / "oracle" / STORE_FILE).rows)
    assert dense is not None
    assert pruned is not None
    assert (dense.dg.selection, pruned.dg.selection) == ("source", "oracle")
    assert pruned.drop is None


def test_a_dry_run_writes_nothing(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    shown = run(folder, "--dry-run", "--json")
    assert shown.returncode == 0, shown.stderr
    planned = json.loads(shown.stdout)
    assert planned["schema"] == "edgeprune/sweep-plan@1"
    assert [trial["done"] for trial in planned["trials"]] == [False] * 3
    assert sorted(folder.rglob("*")) == before


def test_no_two_sweeps_write_into_one_directory(folder: Path) -> None:
    import fcntl

    (folder / "busy").mkdir()
    with (folder / "busy" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = run(folder, "-o", "busy")
    assert refused.returncode == 2
    assert "another sweep is writing into 'busy'" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "sweep needs an output directory"),
        (("-o", "toy"), 2, "holds something else than a sweep"),
        (("-o", "x", "--workers", "0"), 2, "workers 0 is not accepted"),
        (("-o", "x", "--ray", "auto", "--workers", "2"), 2, "give one of the two"),
        (("-o", "sweep.toml/x"), 2, "sweep.toml' is not a directory"),
    ],
)
def test_bad_usage_is_named(
    folder: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    refused = run(folder, *arguments)
    assert (refused.returncode, refused.stdout) == (code, "")
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (folder / "x").exists()


def test_a_spec_that_is_refused_changes_nothing(folder: Path) -> None:
    output = folder / "begun"
    output.mkdir()
    (output / "sweep.toml").write_text("as it was", encoding="utf-8")
    Store(output / STORE_FILE).close()
    text = (folder / "sweep.toml").read_text(encoding="utf-8").replace('"l1"', '"lam"')
    (folder / "typo.toml").write_text(text, encoding="utf-8")
    for name in ("begun", "x"):
        refused = subprocess.run(
            [*COMMAND, "typo.toml", "-o", name],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode == 2
        assert "unknown metric 'lam'" in refused.stderr
    assert not (folder / "x").exists()
    assert (output / "sweep.toml").read_text(encoding="utf-8") == "as it was"
    assert read_store(output / STORE_FILE).rows == []


def test_workers_are_started_before_torch_is_loaded() -> None:
    code = "import sys; sys.modules['torch'] = None; from edgeprune.sweeping import run"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_worker_whose_sweep_is_gone_before_it_began_ends_itself() -> None:
    other = os.getppid()  # not its parent, as if that had died
    with subprocess.Popen(
        [sys.executable, "-m", "edgeprune.sweeping.worker", str(other)], stdin=subprocess.PIPE
    ) as worker:
        assert worker.wait(timeout=60) == -signal.SIGKILL


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(child) for child in text.split()]


def _workers(pid: int) -> list[int]:
    """The workers of a driver; it starts short-lived programs of other kinds, too."""
    return [child for child in _children(pid) if "edgeprune.sweeping.worker" in _command(child)]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except FileNotFoundError:
        return ""


@pytest.mark.slow
def test_a_full_disk_loses_nothing(folder: Path, whole: Path) -> None:
    """On a file system of its own, on which the last trial has no room."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        shutil.copytree(whole, disk / "sweep")
        shutil.rmtree(trial_directory(disk / "sweep", table(whole)[2][0]))
        usage = shutil.disk_usage(disk)
        (disk / "filler").write_bytes(bytes(usage.free - 4_000_000))
        full = run(folder, "-o", "disk/sweep")
        assert full.returncode == 2, full.stderr
        assert "the sweep stopped: no space left on the disk" in full.stderr
        assert "Traceback" not in full.stderr
        states = [row.state for row in read_store(disk / "sweep" / STORE_FILE).rows]
        assert states == ["done", "done", "running"]
        (disk / "filler").unlink()
        last = run(folder, "-o", "disk/sweep")
        assert last.returncode == 0, last.stderr
        assert "2 of 3 trials are done already" in last.stderr
        assert table(disk / "sweep") == table(whole)
    finally:
        subprocess.run(["umount", str(disk)], check=False)
