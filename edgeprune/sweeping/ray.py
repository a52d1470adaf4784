"""Trials on the machines of a Ray cluster, which share the sweep's directory and the data."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import Any

from edgeprune.errors import UnavailableError, UsageError
from edgeprune.sweeping.executor import Outcome, Site, attempt, outcome
from edgeprune.sweeping.trials import Trial

CONNECT_TIMEOUT_S = 5.0
# Ray tries twenty times, over half a minute each, where something listens that is no cluster.
CONNECT_TRIES = ("RAY_NUM_REDIS_GET_RETRIES", "1")


class RayExecutor:
    """Runs as many trials at a time as the cluster has cores (and GPUs) for.

    A trial whose process or machine is lost ends as lost; Ray itself repeats nothing, since the
    sweep knows what of the trial is left to do.
    """

    def __init__(self, site: Site, address: str, *, gpus: int = 0) -> None:
        """Connect to the cluster at ``address``: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``.

        Raises:
            UnavailableError: if Ray is not installed, or nothing answers there.
        """
        self._ray = _connect(address)
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        self.slots = sum(_room(node, site.threads, gpus) for node in nodes)
        if not self.slots:
            self._ray.shutdown()
            needs = f"{site.threads} cores" + (f" and {gpus} GPU" if gpus else "")
            raise UnavailableError(
                f"no node of the Ray cluster has {needs}, which a trial needs",
                hint="--threads N says how many cores a trial takes",
            )
        self._site = site.to_json()
        self._run = self._ray.remote(
            num_cpus=site.threads,
            num_gpus=gpus,
            max_retries=0,
            runtime_env={"env_vars": {"OMP_NUM_THREADS": str(site.threads)}},
        )(attempt)
        self._under_way: dict[Any, str] = {}

    def submit(self, trial: Trial) -> None:
        """Hand a trial to the cluster."""
        reference = self._run.remote(trial.model_dump_json(), self._site)
        self._under_way[reference] = trial.id

    def wait(self) -> Outcome:
        """Wait until one of the trials ends."""
        ended, _ = self._ray.wait(list(self._under_way), num_returns=1)
        identity = self._under_way.pop(ended[0])
        try:
            return outcome(identity, self._ray.get(ended[0]))
        except self._ray.exceptions.RayError as error:
            what = " ".join(str(error).split())[:200]
            return Outcome(identity, error=f"its worker was lost ({what})", lost=True)

    def close(self) -> None:
        """Stop what is under way and leave the cluster."""
        for reference in self._under_way:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()


def _room(node: Mapping[str, float], threads: int, gpus: int) -> int:
    """Return how many trials fit on a node."""
    by_cores = int(node.get("CPU", 0)) // threads
    return min(by_cores, int(node.get("GPU", 0)) // gpus) if gpus else by_cores


def _connect(address: str) -> Any:
    os.environ.setdefault(*CONNECT_TRIES)  # Ray reads it when it is imported
    try:
        import ray
    except ImportError:
        raise UnavailableError(
            "--ray needs the package 'ray', which is not installed",
            hint="pip install 'edgeprune[ray]'",
        ) from None
    _check_answers(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        # Without the traceback that Ray puts into its message.
        why = " ".join(str(error).partition("Last connection error")[0].split())[:200]
        raise UnavailableError(
            f"no Ray cluster answers at {address!r}: {why}",
            hint="ray start --head starts one; ray status shows it",
        ) from None
    return ray


def check_address(address: str) -> tuple[str, int] | None:
    """Return host and port of an address, None of ``auto``. Raises UsageError if it is none."""
    if address == "auto":
        return None
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(
            f"Ray address {address!r} is not accepted; auto, HOST:PORT or ray://HOST:PORT is"
        )
    return host, int(port)


def _check_answers(address: str) -> None:
    """Ask before Ray does, which would try for minutes.

    Raises:
        UsageError: if the address has no port.
        UnavailableError: if nothing listens there.
    """
    place = check_address(address)
    if place is None:
        return
    try:
        socket.create_connection(place, CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise UnavailableError(
            f"no Ray cluster answers at {address!r} ({error.strerror or error})",
            hint="ray start --head starts one; ray status shows it",
        ) from None
