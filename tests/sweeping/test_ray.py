"""Sweeps on a real Ray cluster of two nodes on this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sweeping_helpers import SPEC, write_spec
from toy_domains import write_toy_domains

from edgeprune.errors import UnavailableError, UsageError
from edgeprune.sweeping.ray import _check_answers
from edgeprune.sweeping.store import STORE_FILE, read_store

ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
COMMAND = (sys.executable, "-m", "edgeprune", "sweep", "sweep.toml", "--threads", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    write_toy_domains(folder / "toy", per_class=5)
    write_spec(folder, text=SPEC.replace("[0, 1]", "[0]"))
    return folder


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes of one core each: a head that can be reached, and one that can be lost."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.mark.slow
def test_a_cluster_comes_to_the_same_although_it_loses_a_node(folder: Path, cluster: Any) -> None:
    alone = subprocess.run([*COMMAND, "-o", "alone"], cwd=folder, capture_output=True, check=False)
    assert alone.returncode == 0, alone.stderr
    process = subprocess.Popen(
        [*COMMAND, "-o", "ray", "--ray", cluster.address],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert _running(folder / "ray", process) == 2, "both nodes were to be used"
    cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert _figures(folder / "ray") == _figures(folder / "alone")


def _running(output: Path, process: subprocess.Popen[str]) -> int:
    """Wait until two trials run at the same time, and return how many do."""
    running = 0
    deadline = time.monotonic() + 120
    while running < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
        if (output / STORE_FILE).exists():
            rows = read_store(output / STORE_FILE).rows
            running = sum(row.state == "running" for row in rows)
    return running


def _figures(output: Path) -> list[tuple[Any, ...]]:
    rows = read_store(output / STORE_FILE).rows
    return [(row.id, row.state, row.result and row.result.fingerprint) for row in rows]


def test_an_address_that_does_not_answer(folder: Path) -> None:
    refused = subprocess.run(
        [*COMMAND, "-o", "none", "--ray", "127.0.0.1:1"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 3
    assert "no Ray cluster answers at '127.0.0.1:1'" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (folder / "none").exists()


@pytest.mark.slow
def test_what_listens_but_is_no_cluster_is_given_up_within_minutes(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        refused = subprocess.run(
            [*COMMAND, "-o", "silent", "--ray", address],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert refused.returncode == 3
    assert f"no Ray cluster answers at '{address}'" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (folder / "silent").exists()


@pytest.mark.parametrize("address", ["host", "host:", ":1", "host:x", "host:0", "host:70000"])
def test_an_address_without_a_port(address: str) -> None:
    with pytest.raises(UsageError, match="is not accepted"):
        _check_answers(address)


def test_an_unknown_host() -> None:
    with pytest.raises(UnavailableError, match="no Ray cluster answers"):
        _check_answers("no-such-host.invalid:6379")
